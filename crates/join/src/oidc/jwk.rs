//! The keys of an issuer (RFC 7517), and the signatures that they verify. Which algorithm a key is for follows from
//! the key, never from what a token says alone.

use super::Unverified;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The longest key set.
const LONGEST: usize = 64 * 1024;
/// The most keys in one.
const MOST: usize = 64;

/// Why a key set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Too much.
    #[error("the key set is larger than any issuer's")]
    TooLarge,
    /// Not a key set.
    #[error("it is no JSON Web Key Set")]
    Malformed,
    /// None of its keys is one for signatures that are accepted.
    #[error("it has no key for RS256, PS256, ES256 or EdDSA signatures")]
    NoKey,
}

/// The keys that are good for signatures; others are passed over, as RFC 7517 (section 5) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// Absent: any that the key can be used with.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256([u8; 65]),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Raw {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// From the JSON of an issuer or an administrator.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > LONGEST {
            return Err(KeySetError::TooLarge);
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if set.keys.len() > MOST {
            return Err(KeySetError::TooLarge);
        }
        let raw = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Raw>(key).ok());
        let keys: Vec<Key> = raw.filter_map(|raw| raw.key()).collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self(keys)) }
    }

    /// Whether one of the keys that may have made it made the signature over `message`.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Unverified> {
        let mut fitting = self.0.iter().filter(|key| key.fits(algorithm, id)).peekable();
        if fitting.peek().is_none() {
            return Err(Unverified::UnknownKey(id.unwrap_or_default().chars().take(64).collect()));
        }
        match fitting.any(|key| key.material.verify(algorithm, message, signature)) {
            true => Ok(()),
            false => Err(Unverified::Signature),
        }
    }
}

impl Raw {
    fn key(self) -> Option<Key> {
        if self.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: bytes(self.n)?, e: bytes(self.e)? },
            ("EC", Some("P-256")) => {
                let point = [vec![4], bytes(self.x)?, bytes(self.y)?].concat();
                Material::P256(point.try_into().ok()?)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(self.x)?),
            _ => return None,
        };
        Some(Key { id: self.kid, algorithm: self.alg, material })
    }
}

impl Key {
    /// A token that names its key is of that one; one that names none may be of any of its algorithm.
    fn fits(&self, algorithm: &str, id: Option<&str>) -> bool {
        let named = id.is_none() || self.id.as_deref() == id;
        named
            && self.algorithm.as_deref().is_none_or(|own| own == algorithm)
            && self.material.knows(algorithm)
    }
}

impl Material {
    fn knows(&self, algorithm: &str) -> bool {
        match self {
            Self::Rsa { .. } => matches!(algorithm, "RS256" | "PS256"),
            Self::P256(_) => algorithm == "ES256",
            Self::Ed25519(_) => algorithm == "EdDSA",
        }
    }

    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { n, e }, "RS256") => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            (Self::Rsa { n, e }, "PS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
            }
            (Self::P256(point), "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Self::Ed25519(key), "EdDSA") => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}
