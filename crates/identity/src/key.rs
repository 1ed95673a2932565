//! Subject keys: one P-256 key serves SSH and TLS, so that an identity is one key and two certificates.
//!
//! A private key never appears in `Debug`, `Display` or an error.

mod public;

pub use public::PublicKey;

use crate::pem;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use std::fmt;
use zeroize::Zeroizing;

/// Why something is not a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a P-256 key in the one accepted encoding.
    #[error("not a P-256 public key in uncompressed SubjectPublicKeyInfo form; generate a P-256 key")]
    NotP256,
    /// The PEM text is broken.
    #[error("the private key cannot be read: {0}")]
    Pem(#[from] pem::PemError),
    /// The PKCS#8 document is not a P-256 key.
    #[error("the private key is not a P-256 key in PKCS#8 form; only those are used here")]
    Pkcs8,
    /// The random generator or the library failed.
    #[error("the cryptographic library failed; nothing was made")]
    Library,
}

/// A P-256 private key.
#[derive(Clone)]
pub struct SubjectKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SubjectKey {
    /// A fresh key.
    ///
    /// The generator is an argument by the rule of the pure crates; aws-lc draws from its own either way.
    pub fn generate(rng: &dyn SecureRandom) -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, rng)
            .map_err(|_| KeyError::Library)?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// Reads the first `PRIVATE KEY` block of PEM text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8_der(&pem::first(pem::PRIVATE_KEY, text)?)
    }

    /// Reads a PKCS#8 document.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(|_| KeyError::Pkcs8)?;
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// PKCS#8 in PEM, as every OpenSSH and TLS library reads it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(pem::encode(pem::PRIVATE_KEY, &self.pkcs8_der()?))
    }

    /// PKCS#8 in DER.
    pub fn pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| KeyError::Library)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> Vec<u8> {
        self.public.spki_der()
    }

    /// The public half as OpenSSH has it.
    pub fn ssh_public(&self) -> ssh_key::PublicKey {
        self.public.ssh()
    }

    /// ECDSA over SHA-256 of `message`, ASN.1 encoded.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Library)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({})", self.public.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SubjectKey {
        SubjectKey::generate(&SystemRandom::new()).expect("a key")
    }

    #[test]
    fn a_key_survives_pem() {
        let key = key();
        let again = SubjectKey::from_pem(&key.to_pem().expect("pem")).expect("the same key");
        assert_eq!(again.public(), key.public());
        let signature = again.sign(b"message").expect("a signature");
        assert!(key.public().verify(b"message", &signature));
        assert!(!key.public().verify(b"other", &signature));
    }

    #[test]
    fn debug_shows_the_fingerprint_and_nothing_of_the_key() {
        let key = key();
        assert_eq!(format!("{key:?}"), format!("SubjectKey({})", key.public().fingerprint()));
    }

    #[test]
    fn other_keys_are_refused() {
        let ed25519 =
            aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        assert_eq!(SubjectKey::from_pkcs8_der(ed25519.as_ref()).err(), Some(KeyError::Pkcs8));
        assert!(SubjectKey::from_pem("").is_err());
    }
}
