//! A client's proof that it has the key of a certificate.

use std::fmt;

use crate::algorithms::KeyAlgorithm;
use crate::keys::{KeyError, PublicKey};
use crate::wire::Writer as _;
use bytes::BufMut as _;

/// What a client sent as proof. Nobody has looked at it yet.
pub struct Proof {
    login: String,
    algorithm: KeyAlgorithm,
    blob: Vec<u8>,
    session_id: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// A certificate whose key signed this session's very request. Nothing else about it is established: not who issued it,
/// not for whom or how long it is good.
pub struct Proven {
    login: String,
    blob: Vec<u8>,
    session_id: Vec<u8>,
}

impl Proof {
    pub(super) fn new(
        login: &str,
        algorithm: KeyAlgorithm,
        blob: &[u8],
        session_id: &[u8],
        request: &[u8],
        signature: &[u8],
    ) -> Self {
        let mut signed = Vec::with_capacity(session_id.len() + 4 + request.len());
        signed.put_string(session_id);
        signed.put_slice(request);
        Self {
            login: login.to_owned(),
            algorithm,
            blob: blob.to_vec(),
            session_id: session_id.to_vec(),
            signed,
            signature: signature.to_vec(),
        }
    }

    /// Checks the signature (RFC 4252, section 7).
    pub fn verify(self) -> Result<Proven, KeyError> {
        let key = PublicKey::of(self.algorithm, &self.blob)?;
        key.verify(self.algorithm.scheme, &self.signed, &self.signature)?;
        Ok(self.verified_elsewhere())
    }

    /// Somebody else checked [`Self::signature`] over [`Self::signed`], and that it begins with the identifier of this
    /// session: a process that does not trust this one.
    #[must_use]
    pub fn verified_elsewhere(self) -> Proven {
        let Self { login, blob, session_id, .. } = self;
        Proven { login, blob, session_id }
    }

    /// The account that is wanted.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// By which the key signed.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The certificate as on the wire.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// What was signed: the session identifier and the request.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The signature blob.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl Proven {
    /// The account that is wanted.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The certificate as on the wire (PROTOCOL.certkeys).
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    pub(super) fn session_id(&self) -> &[u8] {
        &self.session_id
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({:?}, {}, {} bytes)", self.login, self.algorithm, self.blob.len())
    }
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proven({:?}, {} bytes)", self.login, self.blob.len())
    }
}
