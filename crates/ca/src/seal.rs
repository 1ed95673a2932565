//! Keys at rest: sealed with an envelope key that lies beside the store, not in it, so that a copy of the store
//! alone cannot sign.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use std::fmt;
use zeroize::Zeroizing;

/// Says what it is and how it is made.
const MAGIC: &[u8; 8] = b"PSTNCA\x00\x01";

/// 32 bytes that open what is sealed.
pub struct EnvelopeKey(Zeroizing<[u8; EnvelopeKey::LEN]>);

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not 32 bytes.
    #[error("the envelope key must be 32 bytes; restore the one that the authorities were sealed with")]
    KeyLength,
    /// Something else, or of a newer version.
    #[error(
        "these are not sealed authorities of a version that this program knows; upgrade it, or restore a backup"
    )]
    Format,
    /// Another key, another cluster, or changed bytes.
    #[error(
        "the authorities cannot be unsealed: the envelope key is not the one they were sealed with, or they were \
         changed; restore both from one backup"
    )]
    Refused,
    /// Unsealed, and still not usable.
    #[error("the unsealed authorities cannot be read: {0}")]
    Content(String),
}

impl EnvelopeKey {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// From the bytes of its file.
    pub fn new(bytes: &[u8]) -> Result<Self, SealError> {
        bytes.try_into().map(|bytes| Self(Zeroizing::new(bytes))).map_err(|_| SealError::KeyLength)
    }

    fn cipher(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.0).expect("the key has the cipher's length")
    }

    /// Seals `plain` for `owner`; nobody else's can be opened in its place.
    pub(crate) fn seal(&self, plain: &[u8], owner: &str) -> Result<Vec<u8>, SealError> {
        // With room for the tag: growing would leave a copy of the plain text where the buffer was.
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plain);
        let nonce = self
            .cipher()
            .seal_in_place_append_tag(Aad::from(label(owner)), &mut *sealed)
            .map_err(|_| SealError::Refused)?;
        Ok([&MAGIC[..], nonce.as_ref(), &sealed].concat())
    }

    /// Opens what [`Self::seal`] gave.
    pub(crate) fn open(&self, sealed: &[u8], owner: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(SealError::Format)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Format)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .cipher()
            .open_in_place(nonce, Aad::from(label(owner)), &mut body)
            .map_err(|_| SealError::Refused)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

fn label(owner: &str) -> Vec<u8> {
    [MAGIC, owner.as_bytes()].concat()
}

impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvelopeKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::{EnvelopeKey, SealError};

    fn key(byte: u8) -> EnvelopeKey {
        EnvelopeKey::new(&[byte; 32]).expect("32 bytes")
    }

    #[test]
    fn opens_for_its_key_and_owner_only() {
        let sealed = key(1).seal(b"secret", "a.example").expect("sealed");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key(1).open(&sealed, "a.example").expect("opened").as_slice(), b"secret");
        assert_eq!(key(2).open(&sealed, "a.example"), Err(SealError::Refused));
        assert_eq!(key(1).open(&sealed, "b.example"), Err(SealError::Refused));
    }

    #[test]
    fn no_byte_can_be_changed_and_none_left_out() {
        let sealed = key(1).seal(b"secret", "a.example").expect("sealed");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(1).open(&changed, "a.example").is_err(), "byte {at}");
            assert!(key(1).open(&sealed[..at], "a.example").is_err(), "cut at {at}");
        }
    }
}
