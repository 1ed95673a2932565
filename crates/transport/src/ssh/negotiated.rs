//! What the two sides of a connection agreed on.

use super::{Cipher, KeyExchange};

/// The algorithms of a connection, as its first key exchange chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// How the keys were agreed on.
    pub key_exchange: KeyExchange,
    /// What encrypts and authenticates.
    pub cipher: Cipher,
}

impl Negotiated {
    /// Whether what is recorded today stays secret when quantum computers can break elliptic curves.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.key_exchange.is_post_quantum()
    }

    /// The algorithms of these names; nothing when one is not ours.
    pub(super) fn named(key_exchange: &str, cipher: &str) -> Option<Self> {
        Some(Self { key_exchange: key_exchange.parse().ok()?, cipher: cipher.parse().ok()? })
    }
}
