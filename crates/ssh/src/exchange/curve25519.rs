//! X25519 (RFC 7748, RFC 8731): the whole of `curve25519-sha256` and the classical half of the hybrids.

use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use zeroize::Zeroizing;

use super::{ExchangeError, Half};

/// Bytes of a public key.
pub(super) const POINT: usize = 32;

/// A private key for one exchange.
pub(super) struct Secret(EphemeralPrivateKey);

/// A private key and what the peer is sent of it.
pub(super) fn generate() -> Result<(Secret, [u8; POINT]), ExchangeError> {
    let secret =
        EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| ExchangeError::Own)?;
    let public = secret.compute_public_key().map_err(|_| ExchangeError::Own)?;
    let public = public.as_ref().try_into().map_err(|_| ExchangeError::Own)?;
    Ok((Secret(secret), public))
}

impl Secret {
    /// The secret that both have. A peer's point of low order would make it zero whatever our key is; aws-lc refuses
    /// that, as RFC 8731, section 3 demands.
    pub(super) fn agree(self, peer: &[u8; POINT]) -> Result<Half, ExchangeError> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agree_ephemeral(self.0, peer, ExchangeError::Invalid, |secret| {
            let mut half = Zeroizing::new([0; 32]);
            if secret.len() != half.len() {
                return Err(ExchangeError::Own);
            }
            half.copy_from_slice(secret);
            Ok(half)
        })
    }
}
