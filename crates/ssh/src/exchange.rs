//! The key exchange methods: two sides with keys made for this one connection agree on a secret.
//!
//! The client sends what [`Started::init`] says, the server answers by [`respond`], and both have the same [`Shared`]
//! secret. A hybrid method is a key encapsulation (post-quantum) beside X25519: both parts travel one behind the other,
//! the post-quantum one first, and the secret is a hash of both. Nothing here knows who the peer is; the host key's
//! signature over the exchange hash says that.

use std::fmt;

use zeroize::Zeroizing;

use crate::algorithms::KeyExchange;
use crate::wire::Writer;

mod curve25519;
mod derive;
mod mlkem;
mod record;
mod sntrup;

pub(crate) use derive::{Hash, derive};
pub use record::ExchangeRecord;

/// Why no secret was agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// What the peer sent has not the length that the method has.
    #[error("the peer's key exchange value has {found} bytes, not {expected}")]
    Length {
        /// What the method has.
        expected: usize,
        /// What the peer sent.
        found: usize,
    },
    /// What the peer sent is of no use: a point of low order, or a key that is out of range.
    #[error("the peer's key exchange value is not valid")]
    Invalid,
    /// Our own library failed.
    #[error("no key could be made for this key exchange")]
    Own,
}

/// The client's side, begun: it holds the secrets of this one exchange.
pub(crate) struct Started {
    method: KeyExchange,
    init: Vec<u8>,
    quantum: Quantum,
    classical: curve25519::Secret,
}

/// The post-quantum half of the client's side.
enum Quantum {
    None,
    MlKem(mlkem::Secret),
    Sntrup(sntrup::Secret),
}

/// The secret that both sides have, encoded as it goes into the exchange hash and into the keys: an `mpint` for a
/// classical method, a `string` for a hybrid one.
pub(crate) struct Shared(Zeroizing<Vec<u8>>);

/// The shared secret of one half of a method.
type Half = Zeroizing<[u8; 32]>;

impl Started {
    /// Makes the keys of this exchange.
    pub(crate) fn new(method: KeyExchange) -> Result<Self, ExchangeError> {
        let (quantum, mut init) = match method {
            KeyExchange::MlKem768X25519 => {
                let (secret, public) = mlkem::generate()?;
                (Quantum::MlKem(secret), public)
            }
            KeyExchange::Sntrup761X25519 => {
                let (secret, public) = sntrup::generate();
                (Quantum::Sntrup(secret), public)
            }
            KeyExchange::Curve25519 => (Quantum::None, Vec::new()),
        };
        let (classical, public) = curve25519::generate()?;
        init.extend_from_slice(&public);
        Ok(Self { method, init, quantum, classical })
    }

    /// What the server is sent: `Q_C` (RFC 8731) or `C_INIT` (the hybrids), the content of the string in
    /// `SSH_MSG_KEX_ECDH_INIT`.
    pub(crate) fn init(&self) -> &[u8] {
        &self.init
    }

    /// Ends the exchange with what the server answered: `Q_S` or `S_REPLY`.
    pub(crate) fn finish(self, reply: &[u8]) -> Result<Shared, ExchangeError> {
        let (quantum, classical) = halves(reply, self.method.ciphertext_length())?;
        let classical = self.classical.agree(classical)?;
        Ok(match self.quantum {
            Quantum::None => Shared::classical(&classical),
            Quantum::MlKem(secret) => Shared::hybrid(self.method, &secret.decapsulate(quantum)?, &classical),
            Quantum::Sntrup(secret) => Shared::hybrid(self.method, &secret.decapsulate(quantum)?, &classical),
        })
    }
}

/// The server's side, in one step: what the client is answered (`Q_S` or `S_REPLY`) and the secret.
pub(crate) fn respond(method: KeyExchange, init: &[u8]) -> Result<(Vec<u8>, Shared), ExchangeError> {
    let (quantum, peer) = halves(init, method.encapsulation_key_length())?;
    let (classical, public) = curve25519::generate()?;
    let classical = classical.agree(peer)?;
    let (mut reply, shared) = match method {
        KeyExchange::MlKem768X25519 => {
            let (ciphertext, secret) = mlkem::encapsulate(quantum)?;
            (ciphertext, Shared::hybrid(method, &secret, &classical))
        }
        KeyExchange::Sntrup761X25519 => {
            let (ciphertext, secret) = sntrup::encapsulate(quantum)?;
            (ciphertext, Shared::hybrid(method, &secret, &classical))
        }
        KeyExchange::Curve25519 => (Vec::new(), Shared::classical(&classical)),
    };
    reply.extend_from_slice(&public);
    Ok((reply, shared))
}

impl KeyExchange {
    /// The hash of the method: of the exchange hash, and of the keys that come from it.
    pub(crate) fn hash(self) -> Hash {
        match self {
            Self::MlKem768X25519 | Self::Curve25519 => Hash::Sha256,
            Self::Sntrup761X25519 => Hash::Sha512,
        }
    }

    fn encapsulation_key_length(self) -> usize {
        match self {
            Self::MlKem768X25519 => mlkem::ENCAPSULATION_KEY,
            Self::Sntrup761X25519 => sntrup::ENCAPSULATION_KEY,
            Self::Curve25519 => 0,
        }
    }

    fn ciphertext_length(self) -> usize {
        match self {
            Self::MlKem768X25519 => mlkem::CIPHERTEXT,
            Self::Sntrup761X25519 => sntrup::CIPHERTEXT,
            Self::Curve25519 => 0,
        }
    }
}

/// The post-quantum and the classical half of what a peer sent, which must be exactly so long.
fn halves(sent: &[u8], quantum: usize) -> Result<(&[u8], &[u8; curve25519::POINT]), ExchangeError> {
    let wrong = ExchangeError::Length { expected: quantum + curve25519::POINT, found: sent.len() };
    let (quantum, classical) = sent.split_at_checked(quantum).ok_or(wrong)?;
    Ok((quantum, classical.try_into().map_err(|_| wrong)?))
}

impl Shared {
    /// RFC 8731, section 3.1: the 32 bytes as they are, taken for a number with its most significant byte first.
    fn classical(secret: &Half) -> Self {
        let mut encoded = Zeroizing::new(Vec::with_capacity(4 + 1 + secret.len()));
        encoded.put_mpint(secret.as_slice());
        Self(encoded)
    }

    /// The hybrids: the hash of both secrets, as a string.
    fn hybrid(method: KeyExchange, quantum: &Half, classical: &Half) -> Self {
        let secret = method.hash().digest(&[quantum.as_slice(), classical.as_slice()]);
        let mut encoded = Zeroizing::new(Vec::with_capacity(4 + secret.as_ref().len()));
        encoded.put_string(secret.as_ref());
        Self(encoded)
    }

    /// The secret as it is hashed.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}

#[cfg(test)]
mod tests;
