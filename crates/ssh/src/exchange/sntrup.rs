//! Streamlined NTRU Prime 761: the post-quantum half of `sntrup761x25519-sha512` (draft-ietf-sshm-ntruprime-ssh), which
//! OpenSSH has had since 8.5.

use std::convert::Infallible;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rand_core::{TryCryptoRng, TryRng};
use sntrup::Sntrup761;
use sntrup::sntrup761::{Ciphertext, DecapsulationKey, EncapsulationKey, SharedSecret};
use zeroize::Zeroizing;

use super::{ExchangeError, Half};

/// Bytes that the client sends.
pub(super) const ENCAPSULATION_KEY: usize = sntrup::sntrup761::PUBLIC_KEY_SIZE;

/// Bytes that the server answers.
pub(super) const CIPHERTEXT: usize = sntrup::sntrup761::CIPHERTEXT_SIZE;

/// A decapsulation key for one exchange.
pub(super) struct Secret(DecapsulationKey);

/// A decapsulation key and the encapsulation key that the server is sent.
pub(super) fn generate() -> (Secret, Vec<u8>) {
    let (public, secret) = Sntrup761::generate_key(&mut Random(SystemRandom::new()));
    (Secret(secret), public.as_ref().to_vec())
}

/// A secret, and the ciphertext by which the owner of the encapsulation key learns it.
pub(super) fn encapsulate(key: &[u8]) -> Result<(Vec<u8>, Half), ExchangeError> {
    let key = EncapsulationKey::try_from(key).map_err(|_| ExchangeError::Invalid)?;
    let (ciphertext, secret) = key.encapsulate(&mut Random(SystemRandom::new()));
    Ok((ciphertext.as_ref().to_vec(), half(&secret)?))
}

impl Secret {
    /// The secret in a ciphertext. One that was not made with our key gives a secret that nobody else has.
    pub(super) fn decapsulate(self, ciphertext: &[u8]) -> Result<Half, ExchangeError> {
        let ciphertext = Ciphertext::try_from(ciphertext).map_err(|_| ExchangeError::Invalid)?;
        half(&self.0.decapsulate(&ciphertext))
    }
}

fn half(secret: &SharedSecret) -> Result<Half, ExchangeError> {
    secret.as_ref().try_into().map(Zeroizing::new).map_err(|_| ExchangeError::Own)
}

/// The randomness of aws-lc in the form that the crate takes. It cannot fail: without randomness aws-lc ends the process.
struct Random(SystemRandom);

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes).expect("aws-lc gives randomness or ends the process");
        Ok(())
    }
}

impl TryCryptoRng for Random {}
