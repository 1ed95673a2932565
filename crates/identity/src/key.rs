//! Subject keys: one P-256 key serves SSH and TLS, so that an identity is one key and two certificates.
//!
//! A private key never appears in `Debug`, `Display` or an error.

mod public;

pub use public::PublicKey;

use crate::pem;
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use std::fmt;
use zeroize::Zeroizing;

/// `ECPrivateKey` of RFC 5915 for P-256, whose parts all have one length: version 1 and the head of the scalar,
const SEC1_BEFORE_SCALAR: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
/// then the name of the curve and the head of the uncompressed point.
const SEC1_BEFORE_POINT: [u8; 17] =
    [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00];
const SEC1_LENGTH: usize = 121;

/// Why something is not a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a P-256 key in the one accepted encoding.
    #[error("not a P-256 public key in uncompressed SubjectPublicKeyInfo form; generate a P-256 key")]
    NotP256,
    /// The PEM text is broken.
    #[error("the private key cannot be read: {0}")]
    Pem(#[from] pem::PemError),
    /// The document is not a P-256 key.
    #[error("the private key is not a P-256 key; only those are used here")]
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

    /// Reads the first `PRIVATE KEY` block of PEM text, or else the first `EC PRIVATE KEY`.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match pem::first(pem::PRIVATE_KEY, text) {
            Ok(der) => Self::from_pkcs8_der(&der),
            Err(other) => match pem::first(pem::EC_PRIVATE_KEY, text) {
                Ok(der) => Self::from_pair(
                    EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
                        .map_err(|_| KeyError::Pkcs8)?,
                ),
                Err(_) => Err(other.into()),
            },
        }
    }

    /// Reads a PKCS#8 document.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_pair(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).map_err(|_| KeyError::Pkcs8)?,
        )
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// PKCS#8 in PEM.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(pem::encode(pem::PRIVATE_KEY, &self.pkcs8_der()?))
    }

    /// The older form of SEC 1 (RFC 5915) in PEM, for files that others read: OpenSSH and TLS libraries take both, PuTTY
    /// and paramiko this one alone.
    pub fn to_sec1_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let scalar: EcPrivateKeyBin<'_> =
            self.pair.private_key().as_be_bytes().map_err(|_| KeyError::Library)?;
        let mut der = Zeroizing::new(Vec::with_capacity(SEC1_LENGTH));
        der.extend_from_slice(&SEC1_BEFORE_SCALAR);
        der.extend_from_slice(scalar.as_ref());
        der.extend_from_slice(&SEC1_BEFORE_POINT);
        der.extend_from_slice(self.pair.public_key().as_ref());
        Ok(pem::encode(pem::EC_PRIVATE_KEY, &der))
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
    fn a_key_survives_the_form_that_others_read() {
        let key = key();
        let pem = key.to_sec1_pem().expect("pem");
        assert!(pem.starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
        assert_eq!(pem::first(pem::EC_PRIVATE_KEY, &pem).expect("one").len(), SEC1_LENGTH);
        assert_eq!(SubjectKey::from_pem(&pem).expect("the same key").public(), key.public());
        let broken = pem::encode(pem::EC_PRIVATE_KEY, &[0x30, 0]);
        assert_eq!(SubjectKey::from_pem(&broken).err(), Some(KeyError::Pkcs8));
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
