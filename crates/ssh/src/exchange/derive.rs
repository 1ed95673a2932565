//! From the shared secret to the keys of the ciphers (RFC 4253, section 7.2).

use std::fmt;

use aws_lc_rs::digest::{self, Context, SHA256, SHA512};
use zeroize::Zeroizing;

use super::Shared;

/// The hash of a key exchange method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

/// What a [`enum@Hash`] gives: 32 or 64 bytes. It may come from a secret, so it does not print itself.
#[derive(Clone, Copy)]
pub(crate) struct Digest(digest::Digest);

impl Hash {
    /// The hash of the parts, one behind the other.
    pub(crate) fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut context = Context::new(match self {
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        });
        for part in parts {
            context.update(part);
        }
        Digest(context.finish())
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.as_ref().len())
    }
}

/// RFC 4253, section 7.2: `HASH(K || H || letter || session_id)`, and as long as that is too short, the hash of
/// `K || H ||` all that there is so far behind it. `shared` has its encoding as `mpint` or `string` in it.
pub(crate) fn derive(
    hash: Hash,
    shared: &Shared,
    exchange_hash: &[u8],
    letter: u8,
    session_id: &[u8],
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let block = |tail: &[&[u8]]| hash.digest(&[&[shared.encoded(), exchange_hash], tail].concat());
    let first = block(&[&[letter], session_id]);
    let size = first.as_ref().len();
    // All room at once: a vector that grows would leave keys behind in freed memory.
    let mut key = Zeroizing::new(Vec::with_capacity(length.next_multiple_of(size).max(size)));
    key.extend_from_slice(first.as_ref());
    while key.len() < length {
        let next = block(&[&key]);
        key.extend_from_slice(next.as_ref());
    }
    key.truncate(length);
    key
}

#[cfg(test)]
mod tests {
    use super::{Hash, Shared, derive};
    use zeroize::Zeroizing;

    /// Made with Python's hashlib from the formula of the RFC: K is the mpint of 0x80 and 31 times 0x01, H and the
    /// session id are the hashes of `exchange` and `session`.
    #[test]
    fn rfc4253_7_2_keys_are_extended_by_hashing_on() {
        let shared =
            Shared::classical(&Zeroizing::new(std::array::from_fn(|i| if i == 0 { 0x80 } else { 1 })));
        let cases = [
            (
                Hash::Sha256,
                "484989384946c7d52ff269ebcdfc8e5e9fea13345efafefbd090cde3e351406974e59f11272e4fc369fec192c86988cc\
                 91c55e7dce9937a74ecfdaf7ea5b8db054ee3b82d735782fa4868daf3dcc2a09716aa36386e564c27be3da709422d61f",
            ),
            (
                Hash::Sha512,
                "f33ab2bdb6aee4ecdd29cc7cf0ccf1219379322908f437a74992e7e992d3f1725992bf2de5172c401a58d9bbd179ce48\
                 5930801c80c7a998747696f5af48369fa63e8c52569ef96b7cec4daf950d699daea7454d4446375c6c20b1445906a31a",
            ),
        ];
        for (hash, expected) in cases {
            let (exchange, session) = (hash.digest(&[b"exchange"]), hash.digest(&[b"session"]));
            for length in [0, 12, 16, 32, 33, 64, 65, 96] {
                let key = derive(hash, &shared, exchange.as_ref(), b'C', session.as_ref(), length);
                assert_eq!(hex::encode(&*key), expected[..2 * length], "{hash:?}, {length} bytes");
            }
        }
    }

    #[test]
    fn every_letter_is_another_key() {
        let shared = Shared::classical(&Zeroizing::new([7; 32]));
        let keys: std::collections::HashSet<_> = (b'A'..=b'F')
            .map(|letter| derive(Hash::Sha256, &shared, &[1; 32], letter, &[1; 32], 32).to_vec())
            .collect();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn parts_are_hashed_one_behind_the_other() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            assert_eq!(hash.digest(&[b"ab", b"", b"c"]).as_ref(), hash.digest(&[b"abc"]).as_ref());
            assert!(!format!("{:?}", hash.digest(&[b"abc"])).contains("ba"), "prints no hash");
        }
        assert_eq!(
            hex::encode(Hash::Sha256.digest(&[b"abc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
