//! AES in Galois/Counter Mode (RFC 5647): the length is authenticated and not encrypted, and each packet has a nonce of
//! its own, made of four fixed bytes and a counter of eight (section 7.1).

use aws_lc_rs::aead::{Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

use super::{BadTag, LENGTH, TAG};

/// Bytes of initial vector.
pub(super) const IV: usize = FIXED + COUNTER;
const FIXED: usize = 4;
const COUNTER: usize = 8;

/// The key of one direction and the nonce of its next packet.
pub(super) struct Key {
    key: LessSafeKey,
    nonces: Nonces,
}

impl Key {
    pub(super) fn new(algorithm: &'static Algorithm, key: &[u8], iv: &[u8]) -> Self {
        let key =
            UnboundKey::new(algorithm, key).expect("a key is derived in the length that its cipher says");
        let iv = iv.try_into().expect("a vector is derived in the length that its cipher says");
        Self { key: LessSafeKey::new(key), nonces: Nonces::new(iv) }
    }

    pub(super) fn open(
        &mut self,
        length: [u8; LENGTH],
        body: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), BadTag> {
        let nonce = self.nonces.next().ok_or(BadTag)?;
        self.key.open_in_place_separate_tag(nonce, Aad::from(length), tag, body).map(drop).map_err(|_| BadTag)
    }

    pub(super) fn seal(&mut self, length: [u8; LENGTH], body: &mut [u8]) -> [u8; TAG] {
        let nonce = self
            .nonces
            .next()
            .expect("no key seals 2^64 packets: the transport asks for new ones long before");
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(length), body)
            .expect("a packet is shorter than what one nonce may seal");
        tag.as_ref().try_into().expect("both AES-GCM algorithms have tags of 16 bytes")
    }
}

/// The nonces of one direction. The counter starts anywhere, so it may pass its end and go on from zero, as every peer
/// does; no value of it comes twice.
struct Nonces {
    fixed: [u8; FIXED],
    counter: u64,
    last: u64,
    spent: bool,
}

impl Nonces {
    fn new(iv: [u8; IV]) -> Self {
        let [f0, f1, f2, f3, counter @ ..] = iv;
        let counter = u64::from_be_bytes(counter);
        Self { fixed: [f0, f1, f2, f3], counter, last: counter.wrapping_sub(1), spent: false }
    }

    fn next(&mut self) -> Option<Nonce> {
        if self.spent {
            return None;
        }
        let mut nonce = [0; IV];
        nonce[..FIXED].copy_from_slice(&self.fixed);
        nonce[FIXED..].copy_from_slice(&self.counter.to_be_bytes());
        self.spent = self.counter == self.last;
        self.counter = self.counter.wrapping_add(1);
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::Nonces;

    /// RFC 5647, section 7.1: the fixed field stays, the invocation counter counts.
    #[test]
    fn rfc5647_7_1_the_counter_counts() {
        let mut nonces = Nonces::new([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(nonces.next().map(|nonce| *nonce.as_ref()), Some([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 255]));
        assert_eq!(nonces.next().map(|nonce| *nonce.as_ref()), Some([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 1, 0]));
    }

    #[test]
    fn the_counter_goes_on_from_zero() {
        let mut nonces = Nonces::new([[9; 4].as_slice(), &[255; 8]].concat().try_into().expect("12 bytes"));
        assert_eq!(nonces.next().map(|nonce| nonce.as_ref()[4..].to_vec()), Some(vec![255; 8]));
        assert_eq!(nonces.next().map(|nonce| *nonce.as_ref()), Some([9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn no_nonce_comes_twice() {
        let mut nonces = Nonces::new([0; 12]);
        nonces.counter = u64::MAX;
        assert!(nonces.next().is_some(), "the last one");
        assert!(nonces.next().is_none());
        assert!(nonces.next().is_none());
    }
}
