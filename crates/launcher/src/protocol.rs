//! What node and launcher say to each other.
//!
//! Both are of one release and start together. Reading is total and bounded; a message that is not exactly one of these is
//! [`Malformed`], after which nothing more is read from whoever sent it.

mod answer;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use access::{HostId, Labels};
use serde::{Deserialize, Serialize};
use ssh::algorithms::{KeyAlgorithm, KeyExchange};

pub use exec::Exit;

/// The longest policy, with some room for what stands around it.
pub const MAX_BYTES: usize = identity::policy::MAX_LENGTH + (1 << 20);
/// The most descriptors with one message: the client's connection, and the session's.
pub const MAX_DESCRIPTORS: usize = 5;
/// Sessions whose key exchange was signed and that nobody has logged in to yet.
pub const MAX_OPEN: usize = 4096;
/// Proofs that are looked at in one session.
pub const MAX_PROOFS: u32 = 32;
/// Connections with somebody in them.
pub const MAX_ADMISSIONS: usize = 32_768;
/// Sessions and helpers that run, where the host lets a process open so many files.
pub const MAX_SESSIONS: usize = 32_768;
/// Those that are being started.
pub const MAX_LAUNCHES: usize = 256;
/// The part of either that one login can have: one in so many, ...
pub const SHARE: usize = 4;
/// ... but so many in any case.
pub const LEAST_SHARE: usize = 64;

/// What a launcher is told when it starts, by the daemon while that is privileged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Where it keeps the host key, the trust and the policy.
    pub directory: PathBuf,
    /// The program `session-exec`.
    pub session_exec: PathBuf,
    /// This node.
    pub host: HostId,
    /// Labels that never change.
    pub labels: Labels,
    /// Names of labels whose values the node finds out.
    pub label_commands: BTreeSet<String>,
    /// Whether SFTP is possible at all.
    pub file_copy: bool,
    /// Whether ports can be forwarded at all.
    pub port_forwarding: bool,
    /// The host's pluggable authentication modules that sessions are subject to, if they are.
    pub pam: Option<Pam>,
    /// Whether the user's own file of variables counts.
    pub user_env: bool,
    /// Limits that sessions start with ([`exec::Limits::entries`]): those of the host, before the daemon changed its own.
    pub session_limits: Vec<(u8, u64, u64)>,
    /// How long a client may take from its key exchange to its login.
    pub login_grace: std::time::Duration,
}

/// By which rules the host's pluggable authentication modules are asked, and what they are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pam {
    /// The name of the rules, a file in `/etc/pam.d`.
    pub service: String,
    /// Variables: names, and [templates](access::template) that are filled from a user's traits.
    pub environment: BTreeMap<String, String>,
}

/// A number that the node chose, to know the answer by.
pub type Ask = u32;
/// Somebody who was admitted, on one connection.
pub type AdmissionId = u64;
/// Something that runs.
pub type SessionId = u64;

/// What the node asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// The first message, and never again.
    Start(Box<Start>),
    /// A trust bundle as JSON, for a launcher that has none.
    Trust(Vec<u8>),
    /// A policy and its signature.
    Policy {
        /// As signed.
        payload: Vec<u8>,
        /// By the host authority.
        signature: Vec<u8>,
    },
    /// What the commands for labels print now.
    Labels(BTreeMap<String, String>),
    /// Sign a key exchange.
    Sign {
        /// For the answer.
        ask: Ask,
        /// By which method.
        key_exchange: KeyExchange,
        /// Whether its hash is the session's identifier.
        is_first: bool,
        /// See [`ssh::ExchangeRecord::hashed`].
        hashed: Vec<u8>,
    },
    /// The connection of this session identifier is gone, and nobody had logged in.
    Forget(Vec<u8>),
    /// Somebody wants to log in; with the descriptor of its connection.
    Authenticate {
        /// For the answer.
        ask: Ask,
        /// The session identifier.
        session: Vec<u8>,
        /// The account that is wanted.
        login: String,
        /// By which the certificate's key signed.
        algorithm: KeyAlgorithm,
        /// The certificate.
        blob: Vec<u8>,
        /// Whether the host key is signed, too.
        is_host_bound: bool,
        /// By the certificate's key.
        signature: Vec<u8>,
        /// Whether locks are as new as strict locking wants them.
        locks_fresh: bool,
    },
    /// The connection of an admission is gone.
    Close(AdmissionId),
    /// Start something; with the descriptors of the connection and of the session.
    Launch {
        /// For the answer.
        ask: Ask,
        /// On whose behalf.
        admission: AdmissionId,
        /// Whether locks are as new as strict locking wants them.
        locks_fresh: bool,
        /// An encoded [`exec::SessionRequest`].
        request: Vec<u8>,
    },
    /// Send a signal (its name) to what runs.
    Signal(SessionId, String),
    /// Nobody is there any more for whom it ran; it goes on, and is not ended with the launcher. With the descriptor of the
    /// client's connection, which has to be over: else this is a [`Self::Release`].
    Abandon(SessionId),
    /// Kill it.
    Kill(SessionId),
    /// Nobody has a use for it any more: what still runs of it is killed, unless its first process has ended.
    Release(SessionId),
}

/// What the launcher says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Ready {
        /// The host key: SubjectPublicKeyInfo in DER.
        public_key: Vec<u8>,
    },
    /// What became of a trust bundle or a policy: the revision in force, or why it was refused.
    Policy(Result<i64, String>),
    /// A signature blob, or why there is none.
    Signed(Ask, Result<Vec<u8>, String>),
    /// Who wanted to log in may, or may not.
    Judged(Ask, Result<AdmissionId, Denied>),
    /// Something runs, or not.
    Launched(Ask, Result<Running, Denied>),
    /// The first process of something has ended.
    Ended(SessionId, Exit),
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// To name it by.
    pub session: SessionId,
    /// The number of its first process.
    pub pid: u32,
    /// As whom.
    pub uid: u32,
}

/// A no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Stable.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

impl From<exec::wire::WireError> for Malformed {
    fn from(_: exec::wire::WireError) -> Self {
        Self
    }
}

impl Denied {
    /// A no of this code.
    pub fn new(code: &str, reason: impl Into<String>) -> Self {
        Self { code: code.to_owned(), reason: reason.into() }
    }
}

impl std::fmt::Debug for Request {
    /// Its kind alone: commands, keys and secrets are in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start(_) => "Start",
            Self::Trust(_) => "Trust",
            Self::Policy { .. } => "Policy",
            Self::Labels(_) => "Labels",
            Self::Sign { .. } => "Sign",
            Self::Forget(_) => "Forget",
            Self::Authenticate { .. } => "Authenticate",
            Self::Close(_) => "Close",
            Self::Launch { .. } => "Launch",
            Self::Signal(..) => "Signal",
            Self::Abandon(_) => "Abandon",
            Self::Kill(_) => "Kill",
            Self::Release(_) => "Release",
        })
    }
}
