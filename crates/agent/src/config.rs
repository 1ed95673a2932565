//! What an agent is told, and why it cannot start.

use std::fmt;
use std::path::PathBuf;

use access::{HostPort, SystemRole};
use api::status::Problem;
use api::v1::{NodeReport, ProxyReport};
use identity::key::PublicKey;
use transport::{ConnectError, ServerTrust};
use zeroize::Zeroizing;

use crate::state::StateError;

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// What this host does: [`SystemRole::Node`] or [`SystemRole::Proxy`].
    pub role: SystemRole,
    /// The daemon's data directory. The agent keeps its files under `host/<role>/` and the host's id in `host_uuid`.
    pub data_dir: PathBuf,
    /// Auth, or a proxy that relays to it.
    pub auth: HostPort,
    /// How to join when there are no credentials yet.
    pub join: Option<JoinSource>,
    /// This machine's name.
    pub hostname: String,
    /// Further names and addresses for the host certificate.
    pub principals: Vec<String>,
    /// The key that this host's SSH server signs with, where another process holds it. Nothing: the agent's own key serves
    /// SSH as well.
    pub ssh_key: Option<PublicKey>,
    /// What auth is told about this host at first; see [`crate::HostAgent::report`].
    pub report: Report,
}

/// A permission to join, and how to know the cluster.
#[derive(Clone)]
pub struct JoinSource {
    /// The token; a secret.
    pub token: Zeroizing<String>,
    /// Which server may be asked: pins, or the system's roots.
    pub trust: ServerTrust,
    /// What more is shown.
    pub proof: Proof,
}

/// By what a host shows that it may join.
#[derive(Clone, Default)]
pub enum Proof {
    /// That it knows the token.
    #[default]
    Token,
    /// A key that it keeps, which the first join binds to the token.
    BoundKey {
        /// What the key is bound with; not needed after that.
        secret: Option<Zeroizing<String>>,
    },
    /// The TPM of this machine.
    Tpm {
        /// Where it is.
        device: transport::tpm::Address,
        /// Which of its endorsement keys is shown.
        algorithm: join::tpm::Algorithm,
    },
    /// The ID token in this file, which Kubernetes keeps fresh.
    Kubernetes(PathBuf),
}

impl JoinSource {
    /// With a token whose name is the secret.
    #[must_use]
    pub fn token(token: Zeroizing<String>, trust: ServerTrust) -> Self {
        Self { token, trust, proof: Proof::Token }
    }

    /// Whether the host renews by joining again.
    pub(crate) fn joins_again(&self) -> bool {
        matches!(self.proof, Proof::BoundKey { .. })
    }
}

impl fmt::Debug for JoinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSource").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A node.
    Node(NodeReport),
    /// A proxy.
    Proxy(ProxyReport),
}

/// Why an agent cannot start. Passing troubles are not among these: they are waited out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There are no credentials, and nothing to join with.
    #[error(
        "this {role} has not joined a cluster and has no token; create one with tctl tokens add --type={kind} and \
         set auth_token or join_params", kind = role.as_str().to_ascii_lowercase()
    )]
    NoToken {
        /// The role that wants to join.
        role: SystemRole,
    },
    /// The credentials have expired, and there is nothing to join with.
    #[error(
        "the credentials of this {role} expired at {at} and there is no token to join again; create one with tctl \
         tokens add --type={kind} and set auth_token or join_params", kind = role.as_str().to_ascii_lowercase()
    )]
    Expired {
        /// The role.
        role: SystemRole,
        /// When they did.
        at: jiff::Timestamp,
    },
    /// Auth does not let it join.
    #[error("cannot join the cluster as {role}: {problem}")]
    Refused {
        /// The role that was asked for.
        role: SystemRole,
        /// What auth said.
        problem: Problem,
    },
    /// What is to be shown cannot be read.
    #[error("cannot read the ID token to join with, {path}: {reason}")]
    IdToken {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The server is not one to be trusted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The answer is not what was asked for.
    #[error("auth gave credentials that cannot be used: {0}")]
    BadCredentials(String),
    /// The cryptographic library failed.
    #[error("cannot make a key: {0}")]
    Key(#[from] identity::key::KeyError),
    /// It was told to stop before it had started.
    #[error("stopped before the host had joined its cluster")]
    Stopped,
}
