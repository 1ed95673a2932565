//! Verifying signatures as they come over the wire: `string` with the name of the scheme, `string` with the signature
//! (RFC 4253, section 6.6; RFC 5656, section 3.1.2; RFC 8332, section 3; RFC 8709, section 6). None is with SHA-1.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::KeyError;
use super::public::{Kind, PublicKey};
use crate::algorithms::SignatureScheme;
use crate::wire::{Reader, Writer};

/// Bytes of each of the two numbers in a P-256 signature.
const SCALAR: usize = 32;

impl PublicKey {
    /// Whether this key made that signature over the message, in the way that `scheme` names.
    pub fn verify(&self, scheme: SignatureScheme, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let mut reader = Reader::new(signature);
        if reader.string()? != scheme.name().as_bytes() {
            return Err(KeyError::OtherType);
        }
        let signature = reader.string()?;
        reader.end()?;
        match (&self.0, scheme) {
            (Kind::Ed25519(key), SignatureScheme::Ed25519) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).map_err(wrong)
            }
            (Kind::P256(point), SignatureScheme::EcdsaP256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, &fixed(signature)?)
                    .map_err(wrong)
            }
            (Kind::Rsa { n, e }, SignatureScheme::RsaSha512) => {
                rsa(&RSA_PKCS1_2048_8192_SHA512, n, e, message, signature)
            }
            (Kind::Rsa { n, e }, SignatureScheme::RsaSha256) => {
                rsa(&RSA_PKCS1_2048_8192_SHA256, n, e, message, signature)
            }
            _ => Err(KeyError::OtherType),
        }
    }
}

/// The signature blob of a signature made by `scheme`. That of P-256 is `r || s`.
pub(super) fn blob(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(64 + signature.len());
    blob.put_string(scheme.name().as_bytes());
    if scheme == SignatureScheme::EcdsaP256 {
        let (r, s) = signature.split_at(SCALAR.min(signature.len()));
        let mut numbers = Vec::with_capacity(2 * (4 + 1 + SCALAR));
        numbers.put_mpint(r);
        numbers.put_mpint(s);
        blob.put_string(&numbers);
    } else {
        blob.put_string(signature);
    }
    blob
}

/// The two `mpint`s of a P-256 signature as the library takes them: 32 bytes each.
fn fixed(signature: &[u8]) -> Result<[u8; 2 * SCALAR], KeyError> {
    let mut reader = Reader::new(signature);
    let (r, s) = (reader.positive(SCALAR)?, reader.positive(SCALAR)?);
    reader.end()?;
    let mut fixed = [0; 2 * SCALAR];
    fixed[SCALAR - r.len()..SCALAR].copy_from_slice(r);
    fixed[2 * SCALAR - s.len()..].copy_from_slice(s);
    Ok(fixed)
}

/// Some clients leave out leading zeros of the signature, so a shorter one is filled up as OpenSSH does.
fn rsa(
    parameters: &RsaParameters,
    n: &[u8],
    e: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), KeyError> {
    let missing = n.len().checked_sub(signature.len()).ok_or(KeyError::Malformed)?;
    let mut full = vec![0; n.len()];
    full[missing..].copy_from_slice(signature);
    RsaPublicKeyComponents { n, e }.verify(parameters, message, &full).map_err(wrong)
}

fn wrong(_: aws_lc_rs::error::Unspecified) -> KeyError {
    KeyError::WrongSignature
}
