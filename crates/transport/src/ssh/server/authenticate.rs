//! What an authenticator is asked, and what it may answer.

use std::fmt;
use std::net::SocketAddr;

use ::ssh::server::Proof;

use super::super::Negotiated;

/// Decides who may come in. One value per connection, asked once for each certificate that the client offers with a
/// proof.
pub trait Authenticator: Send + Sync + 'static {
    /// What a yes carries: the permit, for example.
    type Grant: Send + Sync + 'static;

    /// Judges an attempt whose proof nobody has looked at yet: [`Attempt::verify`] does, or another process that does
    /// not trust this one. It should answer from memory: the whole connection waits for it.
    fn authenticate(&self, attempt: &Attempt) -> impl Future<Output = Result<Self::Grant, Rejection>> + Send;
}

/// One attempt to log in. The client says that it has the key of a certificate.
#[derive(Debug)]
pub struct Attempt {
    proof: Proof,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What protects the connection.
    pub negotiated: Negotiated,
}

impl Attempt {
    pub(super) fn new(proof: Proof, peer: SocketAddr, negotiated: Negotiated) -> Self {
        Self { proof, peer, negotiated }
    }

    /// Looks at the proof; what comes out is worth judging.
    pub fn verify(&self) -> Result<Offer, Rejection> {
        self.proof.verify().map_err(|error| Rejection::untold(error.to_string()))?;
        Ok(self.verified_elsewhere())
    }

    /// Another process has looked at the proof, and found it good.
    #[must_use]
    pub fn verified_elsewhere(&self) -> Offer {
        Offer {
            login: self.proof.login().to_owned(),
            certificate: ProvenCertificate(self.proof.blob().to_vec()),
            peer: self.peer,
            negotiated: self.negotiated,
        }
    }

    /// What another process needs to look at the proof by itself.
    #[must_use]
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    pub(super) fn into_proof(self) -> Proof {
        self.proof
    }
}

/// An attempt whose proof is good.
#[derive(Debug)]
pub struct Offer {
    /// The account that the client wants.
    pub login: String,
    /// What it proved.
    pub certificate: ProvenCertificate,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What protects the connection.
    pub negotiated: Negotiated,
}

/// A certificate whose private key signed this session. Nothing else about it is established: not who signed it, not
/// for whom or how long it is good.
#[derive(Clone)]
pub struct ProvenCertificate(Vec<u8>);

impl ProvenCertificate {
    /// As on the wire (PROTOCOL.certkeys).
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ProvenCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvenCertificate({} bytes)", self.0.len())
    }
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    text: String,
    told: bool,
}

impl Rejection {
    /// The client only learns that this certificate did not do, and may try another. `reason` is for our own log.
    pub fn untold(reason: impl Into<String>) -> Self {
        Self { text: reason.into(), told: false }
    }

    /// The client is shown `text` and disconnected. For certificates that are good but do not grant this: to whoever
    /// holds one of those an explanation is owed, and other people never see it.
    pub fn told(text: impl Into<String>) -> Self {
        Self { text: text.into(), told: true }
    }

    /// The reason.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a client tried before it was gone; for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// The account it wanted last.
    pub login: Option<String>,
    /// Plain keys, and others that cannot be used; those are always refused.
    pub plain_keys: u32,
    /// Passwords and keyboard-interactive; not even offered.
    pub passwords: u32,
    /// Certificates that were not proven, or that the authenticator rejected.
    pub certificates: u32,
}

impl Attempts {
    pub(super) fn any(&self) -> bool {
        self.login.is_some()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(login) = &self.login else {
            return f.write_str("nothing was tried");
        };
        write!(
            f,
            "login {login:?} with {} certificates, {} plain keys and {} passwords, all refused",
            self.certificates, self.plain_keys, self.passwords
        )
    }
}
