//! Private keys, for whoever answers the engine's wish for a signature. The engine itself never holds one.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};

use super::public::{Kind, PublicKey};
use super::{KeyError, signature};
use crate::algorithms::SignatureScheme;

/// A private key that signs: Ed25519, ECDSA with P-256, or RSA.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Reads a private key from PKCS#8 in DER, not encrypted.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            return Self::new(Pair::Ed25519(pair));
        }
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Self::new(Pair::P256(pair));
        }
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Unsupported)?;
        Self::new(Pair::Rsa(pair))
    }

    /// A new Ed25519 key.
    ///
    /// # Panics
    /// If the library has no memory left.
    #[must_use]
    pub fn generate_ed25519() -> Self {
        let pair =
            Ed25519KeyPair::generate().expect("making an Ed25519 key takes only randomness and memory");
        Self::new(Pair::Ed25519(pair)).expect("a new key is a good key")
    }

    /// A new ECDSA key on P-256.
    ///
    /// # Panics
    /// If the library has no memory left.
    #[must_use]
    pub fn generate_p256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = pair.expect("making a P-256 key takes only randomness and memory");
        Self::new(Pair::P256(pair)).expect("a new key is a good key")
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// How it can sign, most preferred first.
    #[must_use]
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        self.public.schemes()
    }

    /// Signs the message; gives the signature blob, as it goes over the wire.
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signed = match (&self.pair, scheme) {
            (Pair::Ed25519(pair), SignatureScheme::Ed25519) => {
                signature::blob(scheme, pair.try_sign(message).map_err(failed)?.as_ref())
            }
            (Pair::P256(pair), SignatureScheme::EcdsaP256) => {
                signature::blob(scheme, pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref())
            }
            (Pair::Rsa(pair), SignatureScheme::RsaSha512) => {
                signature::blob(scheme, &rsa(pair, &RSA_PKCS1_SHA512, message)?)
            }
            (Pair::Rsa(pair), SignatureScheme::RsaSha256) => {
                signature::blob(scheme, &rsa(pair, &RSA_PKCS1_SHA256, message)?)
            }
            _ => return Err(KeyError::OtherType),
        };
        Ok(signed)
    }

    fn new(pair: Pair) -> Result<Self, KeyError> {
        let kind = match &pair {
            Pair::Ed25519(pair) => {
                Kind::Ed25519(pair.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?)
            }
            Pair::P256(pair) => {
                Kind::P256(pair.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?)
            }
            Pair::Rsa(pair) => {
                let (n, e) = numbers(pair.public_key().as_ref()).ok_or(KeyError::Malformed)?;
                Kind::of_numbers(n, e)?
            }
        };
        Ok(Self { pair, public: PublicKey(kind) })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

fn rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(failed)?;
    Ok(signature)
}

/// Modulus and exponent, without leading zeros, in the `RSAPublicKey` (RFC 8017, appendix A.1.1) that the library makes
/// of a key.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 0x02;
    const SEQUENCE: u8 = 0x30;
    let (sequence, _) = der_value(SEQUENCE, der)?;
    let (n, rest) = der_value(INTEGER, sequence)?;
    let (e, _) = der_value(INTEGER, rest)?;
    Some((n.strip_prefix(&[0]).unwrap_or(n), e.strip_prefix(&[0]).unwrap_or(e)))
}

/// The content of the DER value with this tag at the front, and what comes behind it.
fn der_value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (length, rest) = match rest {
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn failed(_: aws_lc_rs::error::Unspecified) -> KeyError {
    KeyError::Signing
}
