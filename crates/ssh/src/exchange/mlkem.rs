//! ML-KEM-768 (FIPS 203): the post-quantum half of `mlkem768x25519-sha256` (draft-ietf-sshm-mlkem-hybrid-kex).

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, SharedSecret};
use zeroize::Zeroizing;

use super::{ExchangeError, Half};

/// Bytes that the client sends.
pub(super) const ENCAPSULATION_KEY: usize = 1184;

/// Bytes that the server answers.
pub(super) const CIPHERTEXT: usize = 1088;

/// A decapsulation key for one exchange.
pub(super) struct Secret(DecapsulationKey);

/// A decapsulation key and the encapsulation key that the server is sent.
pub(super) fn generate() -> Result<(Secret, Vec<u8>), ExchangeError> {
    let secret = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| ExchangeError::Own)?;
    let public = secret.encapsulation_key().map_err(|_| ExchangeError::Own)?;
    let public = public.key_bytes().map_err(|_| ExchangeError::Own)?;
    Ok((Secret(secret), public.as_ref().to_vec()))
}

/// A secret, and the ciphertext by which the owner of the encapsulation key learns it. A key whose coefficients are out
/// of range is refused (FIPS 203, section 7.2).
pub(super) fn encapsulate(key: &[u8]) -> Result<(Vec<u8>, Half), ExchangeError> {
    let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| ExchangeError::Invalid)?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| ExchangeError::Invalid)?;
    Ok((ciphertext.as_ref().to_vec(), half(&secret)?))
}

impl Secret {
    /// The secret in a ciphertext. One that was not made with our key gives a secret that nobody else has.
    pub(super) fn decapsulate(self, ciphertext: &[u8]) -> Result<Half, ExchangeError> {
        half(&self.0.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| ExchangeError::Invalid)?)
    }
}

fn half(secret: &SharedSecret) -> Result<Half, ExchangeError> {
    secret.as_ref().try_into().map(Zeroizing::new).map_err(|_| ExchangeError::Own)
}
