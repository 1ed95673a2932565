//! What the transport layer cannot do by itself: it holds no private key and trusts nobody.

use crate::algorithms::KeyAlgorithm;
use crate::exchange::ExchangeRecord;
use crate::keys::{KeyError, PublicKey};

/// Something that has to be answered before the connection goes on.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Of a server: its host key has to sign.
    Sign(ToSign),
    /// Of a client: is this the right server?
    Trust(HostKeyShown),
}

/// Something that a private key has to sign. The answer may come later and from another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSign {
    /// Which key, and how.
    pub algorithm: KeyAlgorithm,
    /// What is signed: an exchange hash of the host key (RFC 4253, section 8) or a request of the user key (RFC 4252,
    /// section 7).
    pub data: Vec<u8>,
    /// What the exchange hash is made of, where it is one: for a signer that wants to see for itself.
    pub exchange: Option<Box<ExchangeRecord>>,
}

/// A host key that signed this key exchange. Nothing else about it is established: not whose it is, and of a certificate
/// not who issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyShown {
    /// By which it signed, and whether `blob` is a certificate.
    pub algorithm: KeyAlgorithm,
    /// The key or certificate as on the wire.
    pub blob: Vec<u8>,
}

impl HostKeyShown {
    /// The key itself.
    pub fn key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::of(self.algorithm, &self.blob)
    }
}
