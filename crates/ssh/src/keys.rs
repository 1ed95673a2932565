//! Public keys, signatures, and the keys that make them.
//!
//! What a stranger sent is read into a [`PublicKey`] only if it is exactly what it should be, of a type that we accept,
//! and cheap to verify with. Whether its owner may do anything is not asked here, and a certificate is not judged here:
//! only the key inside is found.

mod public;
mod signature;
mod signing;

pub use public::PublicKey;
pub use signing::SigningKey;

use crate::wire::Malformed;

/// Why a key or a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A type of key that we do not take.
    #[error("this type of key is not supported; use Ed25519, ECDSA P-256, or RSA of 2048 to 8192 bits")]
    Unsupported,
    /// Not what a key or a signature looks like.
    #[error("the key or signature is malformed")]
    Malformed,
    /// An RSA key that is too small to be safe, too large to be cheap, or of even numbers.
    #[error(
        "the RSA key is not acceptable; its modulus must have 2048 to 8192 bits, its exponent at most 32"
    )]
    Weak,
    /// The key, or the signature, is of another type than the algorithm says.
    #[error("the key or signature is of another type than its algorithm says")]
    OtherType,
    /// The signature was not made with this key over this message.
    #[error("the signature is not valid")]
    WrongSignature,
    /// The library could not sign.
    #[error("the key could not sign")]
    Signing,
}

impl From<Malformed> for KeyError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
