//! Join tokens: where they are stored, and how one is found by what a joiner knows.
//!
//! The store holds a hash as the key and the token sealed: who reads the store learns no token. Tokens from the
//! configuration and those of this process's own services are in memory only.

use crate::catalog::layout;
use crate::catalog::record::{Damaged, decode, encode};
use crate::enrol::trace::Trace;
use crate::sealing::{Envelope, Sealer};
use access::SystemRole;
use access::resource::token::TokenSpec;
use access::resource::{Metadata, Resource, Token};
use join::TokenHash;
use store::{Entry, Key, Txn};

/// The tokens of a cluster.
pub struct Tokens {
    sealer: Sealer,
    fixed: Vec<Fixed>,
}

/// A token that is not in the store.
#[derive(Clone)]
pub struct Fixed {
    hash: TokenHash,
    /// What joiners become.
    pub roles: Vec<SystemRole>,
    /// Made by this process for its own services.
    pub local: bool,
}

impl Fixed {
    /// From the configuration.
    pub fn new(name: &str, roles: Vec<SystemRole>) -> Self {
        Self { hash: TokenHash::of(name), roles, local: false }
    }

    /// For a service of this process.
    pub fn local(name: &str, role: SystemRole) -> Self {
        Self { hash: TokenHash::of(name), roles: vec![role], local: true }
    }
}

impl Tokens {
    /// With those that are not in the store.
    pub fn new(envelope: &Envelope, fixed: Vec<Fixed>) -> Self {
        Self { sealer: Sealer::new(envelope, "tokens"), fixed }
    }

    /// A new name: 128 random bits in hexadecimal.
    pub fn random_name() -> Result<String, aws_lc_rs::error::Unspecified> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)?;
        Ok(hex::encode(bytes))
    }

    /// The token from the configuration with this hash. Each is compared, so that the time tells nothing.
    pub fn fixed(&self, hash: TokenHash) -> Option<&Fixed> {
        self.fixed.iter().fold(None, |found, token| if token.hash == hash { Some(token) } else { found })
    }

    /// Where a token is stored.
    pub fn key(name: &str) -> Key {
        layout::token(TokenHash::of(name))
    }

    /// Adds the writing of a token to a transaction, and of when it ends, which is known for longer.
    pub fn put(&self, txn: Txn, token: &Token) -> Txn {
        let key = Self::key(&token.metadata.name);
        let plain = encode(&Resource::Token(token.clone()));
        let sealed = self.sealer.seal(key.as_str(), plain.as_bytes());
        match token.metadata.expires {
            Some(expires) => {
                let txn = Trace::Made { expires }.put(txn, TokenHash::of(&token.metadata.name));
                txn.put_until(key, sealed, expires)
            }
            None => txn.put(key, sealed),
        }
    }

    /// The token in an entry.
    pub fn open(&self, entry: &Entry) -> Result<Token, Damaged> {
        let damaged = |reason: String| Damaged { key: entry.key.clone(), reason };
        let plain = self.sealer.open(entry.key.as_str(), &entry.value);
        let plain = plain.map_err(|error| damaged(error.to_string()))?;
        let opened = Entry { value: plain.to_vec().into(), ..entry.clone() };
        match decode(&opened)? {
            Resource::Token(token) => Ok(token),
            other => Err(damaged(format!("it is a {}", other.kind()))),
        }
    }

    /// A token for a new instance of a bot or a new host.
    pub fn token(name: String, spec: TokenSpec, expires: Option<jiff::Timestamp>) -> Token {
        Token { metadata: Metadata { name, expires, ..Metadata::default() }, spec, status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fixed, Tokens};
    use crate::sealing::Envelope;
    use access::SystemRole;
    use join::TokenHash;

    #[test]
    fn tokens_of_the_configuration_are_found_by_their_whole_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let envelope = Envelope::open_or_make(directory.path()).expect("is made");
        let fixed = vec![
            Fixed::new("first-token", vec![SystemRole::Node]),
            Fixed::new("second-token", vec![SystemRole::Proxy]),
        ];
        let tokens = Tokens::new(&envelope, fixed);
        let found = |name: &str| tokens.fixed(TokenHash::of(name)).map(|token| token.roles.clone());
        assert_eq!(found("first-token"), Some(vec![SystemRole::Node]));
        assert_eq!(found("second-token"), Some(vec![SystemRole::Proxy]));
        for name in ["", "first-toke", "first-token ", "FIRST-TOKEN"] {
            assert_eq!(found(name), None, "{name:?}");
        }
    }

    #[test]
    fn random_names_have_128_bits() {
        let (one, other) = (Tokens::random_name().expect("random"), Tokens::random_name().expect("random"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
