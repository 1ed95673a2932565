//! How one packet is sealed and opened (RFC 4253, section 6, as the authenticated ciphers have it).
//!
//! A packet is `length || body || tag`, where the body is `padding_length || payload || padding`. Both directions work in
//! place and allocate nothing: this is the path that all bulk data takes. Counting bytes and packets, and asking for new
//! keys in time, is the transport's.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, chacha20_poly1305_openssh as openssh};

use crate::algorithms::Cipher;

mod gcm;

/// The bytes that authenticate a packet, at its end.
pub(crate) const TAG: usize = 16;

/// The bytes of the length field in front of each packet.
pub(crate) const LENGTH: usize = 4;

/// A packet that was not sealed with our key, or not for this place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet could not be authenticated")]
pub(crate) struct BadTag;

/// Opens what the peer has sealed.
pub(crate) struct Opening(OpeningKey);

/// Seals what we send.
pub(crate) struct Sealing(SealingKey);

enum OpeningKey {
    Gcm(gcm::Key),
    ChaCha(openssh::OpeningKey),
}

enum SealingKey {
    Gcm(gcm::Key),
    ChaCha(openssh::SealingKey),
}

impl Cipher {
    /// Bytes of key, of each direction.
    pub(crate) fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
            Self::ChaCha20Poly1305 => openssh::KEY_LEN,
        }
    }

    /// Bytes of initial vector, of each direction.
    pub(crate) fn iv_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => gcm::IV,
            Self::ChaCha20Poly1305 => 0,
        }
    }

    /// The body of a packet is a multiple of so many bytes.
    pub(crate) fn block(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 16,
            Self::ChaCha20Poly1305 => 8,
        }
    }
}

impl Opening {
    /// The key and the vector are as long as the cipher says.
    pub(crate) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Self {
        Self(match cipher {
            Cipher::Aes128Gcm => OpeningKey::Gcm(gcm::Key::new(&AES_128_GCM, key, iv)),
            Cipher::Aes256Gcm => OpeningKey::Gcm(gcm::Key::new(&AES_256_GCM, key, iv)),
            Cipher::ChaCha20Poly1305 => OpeningKey::ChaCha(openssh::OpeningKey::new(chacha_key(key))),
        })
    }

    /// What the length field says. It is not authenticated yet: the caller bounds it before waiting for so much.
    pub(crate) fn length(&self, sequence: u32, head: [u8; LENGTH]) -> u32 {
        u32::from_be_bytes(match &self.0 {
            OpeningKey::Gcm(_) => head,
            OpeningKey::ChaCha(key) => key.decrypt_packet_length(sequence, head),
        })
    }

    /// Opens `length || body || tag` in place and gives the body.
    pub(crate) fn open<'p>(&mut self, sequence: u32, packet: &'p mut [u8]) -> Result<&'p mut [u8], BadTag> {
        let (sealed, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(BadTag)?;
        match &mut self.0 {
            OpeningKey::Gcm(key) => {
                let (length, body) = sealed.split_first_chunk_mut::<LENGTH>().ok_or(BadTag)?;
                key.open(*length, body, tag)?;
                Ok(body)
            }
            OpeningKey::ChaCha(key) => {
                if sealed.len() < LENGTH {
                    return Err(BadTag);
                }
                key.open_in_place(sequence, sealed, tag).map_err(|_| BadTag)?;
                Ok(&mut sealed[LENGTH..])
            }
        }
    }
}

impl Sealing {
    /// The key and the vector are as long as the cipher says.
    pub(crate) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Self {
        Self(match cipher {
            Cipher::Aes128Gcm => SealingKey::Gcm(gcm::Key::new(&AES_128_GCM, key, iv)),
            Cipher::Aes256Gcm => SealingKey::Gcm(gcm::Key::new(&AES_256_GCM, key, iv)),
            Cipher::ChaCha20Poly1305 => SealingKey::ChaCha(openssh::SealingKey::new(chacha_key(key))),
        })
    }

    /// Seals in place: the packet is `length || body || room for the tag`, the length in plain.
    pub(crate) fn seal(&mut self, sequence: u32, packet: &mut [u8]) {
        let (plain, tag) =
            packet.split_last_chunk_mut::<TAG>().expect("a packet of ours has room for its tag");
        match &mut self.0 {
            SealingKey::Gcm(key) => {
                let (length, body) =
                    plain.split_first_chunk_mut::<LENGTH>().expect("a packet of ours begins with its length");
                *tag = key.seal(*length, body);
            }
            SealingKey::ChaCha(key) => key.seal_in_place(sequence, plain, tag),
        }
    }
}

fn chacha_key(key: &[u8]) -> &[u8; openssh::KEY_LEN] {
    key.try_into().expect("a key is derived in the length that its cipher says")
}

#[cfg(test)]
mod tests {
    use super::{BadTag, LENGTH, Opening, Sealing, TAG};
    use crate::algorithms::Cipher;
    use proptest::prelude::*;

    fn pair(cipher: Cipher) -> (Sealing, Opening) {
        let key: Vec<u8> = (0..).take(cipher.key_length()).collect();
        let iv: Vec<u8> = (100..).take(cipher.iv_length()).collect();
        (Sealing::new(cipher, &key, &iv), Opening::new(cipher, &key, &iv))
    }

    /// `length || body || room for the tag`
    fn plain(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("a short body").to_be_bytes();
        [&length[..], body, &[0; TAG]].concat()
    }

    fn sealed(sealing: &mut Sealing, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = plain(body);
        sealing.seal(sequence, &mut packet);
        packet
    }

    #[test]
    fn what_is_sealed_is_opened() {
        for cipher in Cipher::ALL {
            let (mut sealing, mut opening) = pair(cipher);
            for sequence in [u32::MAX - 1, u32::MAX, 0, 1] {
                for body in [&[][..], &[7; 16], &[8; 40_000]] {
                    let mut packet = sealed(&mut sealing, sequence, body);
                    let head = *packet.first_chunk::<LENGTH>().expect("has a length");
                    assert_eq!(opening.length(sequence, head) as usize, body.len(), "{cipher}");
                    assert_eq!(opening.open(sequence, &mut packet).as_deref(), Ok(body), "{cipher}");
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_a_bad_tag() {
        for cipher in Cipher::ALL {
            let packet = sealed(&mut pair(cipher).0, 3, &[5; 32]);
            for bit in 0..packet.len() * 8 {
                let mut packet = packet.clone();
                packet[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(pair(cipher).1.open(3, &mut packet), Err(BadTag), "{cipher}, bit {bit}");
            }
            assert!(pair(cipher).1.open(3, &mut packet.clone()).is_ok(), "{cipher}");
        }
    }

    /// Each packet opens in its own place only: one that is left out, comes twice or comes early is not taken. ChaCha20
    /// counts by the sequence number of the transport, GCM by itself.
    #[test]
    fn a_packet_opens_in_its_place_only() {
        for cipher in Cipher::ALL {
            let (mut sealing, mut opening) = pair(cipher);
            let first = sealed(&mut sealing, 0, &[1; 16]);
            let second = sealed(&mut sealing, 1, &[2; 16]);
            assert_eq!(opening.open(0, &mut second.clone()), Err(BadTag), "{cipher}: early");

            let (_, mut opening) = pair(cipher);
            assert!(opening.open(0, &mut first.clone()).is_ok(), "{cipher}");
            assert_eq!(opening.open(1, &mut first.clone()), Err(BadTag), "{cipher}: twice");
        }
        let (mut sealing, mut opening) = pair(Cipher::ChaCha20Poly1305);
        let mut packet = sealed(&mut sealing, 5, &[1; 16]);
        assert_eq!(opening.open(6, &mut packet), Err(BadTag));
    }

    #[test]
    fn another_key_or_vector_opens_nothing() {
        for cipher in Cipher::ALL {
            let packet = sealed(&mut pair(cipher).0, 0, &[1; 16]);
            let mut key: Vec<u8> = (0..).take(cipher.key_length()).collect();
            let mut iv: Vec<u8> = (100..).take(cipher.iv_length()).collect();
            key[0] ^= 1;
            assert_eq!(Opening::new(cipher, &key, &iv).open(0, &mut packet.clone()), Err(BadTag), "{cipher}");
            key[0] ^= 1;
            if let Some(last) = iv.last_mut() {
                *last ^= 1;
                assert_eq!(
                    Opening::new(cipher, &key, &iv).open(0, &mut packet.clone()),
                    Err(BadTag),
                    "{cipher}"
                );
            }
        }
    }

    /// CVE-2026-46597: the length of a packet must not be taken for larger than the packet is.
    #[test]
    fn cve_2026_46597_a_packet_shorter_than_its_tag_is_refused() {
        for cipher in Cipher::ALL {
            for length in 0..LENGTH + TAG {
                assert_eq!(
                    pair(cipher).1.open(0, &mut vec![0; length]),
                    Err(BadTag),
                    "{cipher}, {length} bytes"
                );
            }
        }
    }

    /// PROTOCOL.chacha20poly1305 hides the length, RFC 5647, section 7.3 leaves it plain.
    #[test]
    fn gcm_lengths_are_plain_and_chacha_lengths_are_not() {
        for cipher in Cipher::ALL {
            let packet = sealed(&mut pair(cipher).0, 9, &[1; 16]);
            assert_eq!(packet[..LENGTH] == [0, 0, 0, 16], cipher != Cipher::ChaCha20Poly1305, "{cipher}");
        }
    }

    /// What others make of the same key, vector, sequence number and body: ChaCha20 and Poly1305 put together from
    /// `openssl enc -chacha20` and `openssl mac` as PROTOCOL.chacha20poly1305 has it, AES-GCM from pyca/cryptography.
    #[test]
    fn others_seal_to_the_same_bytes() {
        let cases = [
            (
                Cipher::ChaCha20Poly1305,
                "a39afcba096734626fa20b7f4d4c9ad1f6aef20d5bdffdfa661fe404d344609aea3431d8",
                None,
            ),
            (
                Cipher::Aes128Gcm,
                "000000103b436f84fa2399dbba1f7631a7eb0acd15ea97d3f923b2452dc1347ca2ee8da2",
                Some("000000104f59523a976038d45cd39c7f19daac96d853276d1920f3d80c19d39064b1f4e2"),
            ),
            (
                Cipher::Aes256Gcm,
                "00000010693aff4758c877bf1f437ec9fb444bdc11c74e4dafd44dd85c3fa56f39aa0b54",
                Some("00000010c23a6b37bd4ffb6653c039c10d1e41d2c09f09c22af163b5c5c6ef0f40cbe5be"),
            ),
        ];
        for (cipher, first, second) in cases {
            let (mut sealing, _) = pair(cipher);
            assert_eq!(hex::encode(sealed(&mut sealing, 7, &[0x21; 16])), first, "{cipher}");
            if let Some(second) = second {
                assert_eq!(hex::encode(sealed(&mut sealing, 8, &[0x21; 16])), second, "{cipher}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_refused_without_panic(sequence: u32, mut packet: Vec<u8>) {
            for cipher in Cipher::ALL {
                let (_, mut opening) = pair(cipher);
                if let Some(head) = packet.first_chunk() {
                    opening.length(sequence, *head);
                }
                prop_assert_eq!(opening.open(sequence, &mut packet), Err(BadTag));
            }
        }
    }
}
