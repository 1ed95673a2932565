//! A client's proof that it has the key of a certificate.

use std::fmt;

use crate::algorithms::KeyAlgorithm;
use crate::keys::{KeyError, PublicKey};
use crate::message::USERAUTH_REQUEST;
use crate::wire::Writer as _;
use bytes::BufMut as _;

/// What a client sent as proof. Nobody has looked at it yet.
pub struct Proof {
    login: String,
    algorithm: KeyAlgorithm,
    blob: Vec<u8>,
    session_id: Vec<u8>,
    is_host_bound: bool,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// A proof as it goes to another process: everything but what that one has to know by itself.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The account that is wanted.
    pub login: &'a str,
    /// By which the key signed.
    pub algorithm: KeyAlgorithm,
    /// The certificate as on the wire.
    pub blob: &'a [u8],
    /// Whether the host key that was shown is signed, too (OpenSSH's PROTOCOL, section 3.1).
    pub is_host_bound: bool,
    /// The signature blob.
    pub signature: &'a [u8],
}

impl Claim<'_> {
    /// The proof, if this was said in the session of this identifier to the server that showed this host key. What is
    /// signed is put together here: nothing of it is taken on trust.
    #[must_use]
    pub fn in_session(&self, session_id: &[u8], host_key: &[u8]) -> Proof {
        let Self { login, algorithm, blob, is_host_bound, signature } = *self;
        let method: &[u8] = if is_host_bound { b"publickey-hostbound-v00@openssh.com" } else { b"publickey" };
        let mut request = vec![USERAUTH_REQUEST];
        for part in [login.as_bytes(), b"ssh-connection", method] {
            request.put_string(part);
        }
        request.put_boolean(true);
        request.put_string(algorithm.name().as_bytes());
        request.put_string(blob);
        if is_host_bound {
            request.put_string(host_key);
        }
        Proof::new(login, algorithm, blob, session_id, is_host_bound, &request, signature)
    }
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
        is_host_bound: bool,
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
            is_host_bound,
            signed,
            signature: signature.to_vec(),
        }
    }

    /// Checks the signature (RFC 4252, section 7).
    pub fn verify(&self) -> Result<Proven, KeyError> {
        let key = PublicKey::of(self.algorithm, &self.blob)?;
        key.verify(self.algorithm.scheme, &self.signed, &self.signature)?;
        let Self { login, blob, session_id, .. } = self;
        Ok(Proven { login: login.clone(), blob: blob.clone(), session_id: session_id.clone() })
    }

    /// Somebody else checked [`Self::signature`] over [`Self::signed`], and that it begins with the identifier of this
    /// session: a process that does not trust this one.
    #[must_use]
    pub fn verified_elsewhere(self) -> Proven {
        let Self { login, blob, session_id, .. } = self;
        Proven { login, blob, session_id }
    }

    /// What another process needs to make this proof again.
    #[must_use]
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            login: &self.login,
            algorithm: self.algorithm,
            blob: &self.blob,
            is_host_bound: self.is_host_bound,
            signature: &self.signature,
        }
    }

    /// The identifier of the session that it was sent in.
    #[must_use]
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
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
