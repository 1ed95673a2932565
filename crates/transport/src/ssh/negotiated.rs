//! What the two sides of a connection agreed on.

use super::{Cipher, KeyExchange};

/// The algorithms of a connection, as its first key exchange chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// How the keys were agreed on.
    pub key_exchange: KeyExchange,
    /// What encrypts and authenticates what the client sends; nearly always also what the server sends.
    pub cipher: Cipher,
}

impl Negotiated {
    /// Whether what is recorded today stays secret when quantum computers can break elliptic curves.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.key_exchange.is_post_quantum()
    }
}

impl From<::ssh::Negotiated> for Negotiated {
    fn from(negotiated: ::ssh::Negotiated) -> Self {
        Self { key_exchange: negotiated.key_exchange, cipher: negotiated.client_to_server }
    }
}
