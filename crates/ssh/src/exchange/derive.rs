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

/// What a [`Hash`] gives: 32 or 64 bytes. It may come from a secret, so it does not print itself.
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
