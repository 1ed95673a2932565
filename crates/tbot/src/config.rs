//! `tbot.yaml`, version v2: the file as written ([`mod@file`]), the flags beside it ([`flags`]), and the checked
//! [`Config`] in which only legal combinations exist.

pub mod check;
mod destinations;
pub mod file;
pub mod flags;
pub mod hooks;
pub mod outputs;
pub mod sshd;
pub mod workloads;

use crate::destination::Destination;
use access::resource::token::Provider;
use access::{ClusterName, RoleName};
use identity::trust::Pin;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

pub use check::{load, without_file};
pub use flags::StartFlags;
pub use hooks::Hook;
pub use sshd::Sshd;
pub use workloads::{Served, Svid, SvidFiles, WorkloadApi};

/// What to run, checked.
#[derive(Debug)]
pub struct Config {
    /// Where the cluster is.
    pub server: Server,
    /// How to become a member of it.
    pub onboarding: Onboarding,
    /// Where the agent keeps its own identity.
    pub storage: Destination,
    /// What it writes for others.
    pub outputs: Vec<Output>,
    /// Life of the agent's own certificates that is asked for.
    pub certificate_ttl: Duration,
    /// Time between renewals of the agent's own identity.
    pub renewal_interval: Duration,
    /// Write everything once, then end.
    pub oneshot: bool,
    /// Where health and metrics are served.
    pub diag_addr: Option<SocketAddr>,
    /// Log more.
    pub debug: bool,
}

/// The one address of the cluster that was configured, `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A proxy; everything goes through its one port.
    Proxy(String),
    /// The auth service itself.
    Auth(String),
}

impl Server {
    /// The address as `host:port`.
    pub fn address(&self) -> &str {
        match self {
            Self::Proxy(address) | Self::Auth(address) => address,
        }
    }
}

/// How a new instance joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onboarding {
    /// The join token; absent when the instance has joined before by method `token`.
    pub token: Option<TokenSource>,
    /// How the agent proves itself.
    pub method: Method,
    /// Whom to believe before there is an identity.
    pub trust: FirstTrust,
}

/// How the agent proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// By the token, once; then it renews.
    Token,
    /// By a key that it keeps.
    BoundKeypair {
        /// What binds the key at the first join.
        registration_secret: Option<TokenSource>,
    },
    /// By the TPM of this machine.
    Tpm {
        /// Where it is.
        device: transport::tpm::Address,
        /// Which of its endorsement keys is shown.
        algorithm: join::tpm::Algorithm,
    },
    /// By what Azure says of this machine.
    Azure {
        /// Which of its managed identities asks.
        client_id: Option<String>,
    },
    /// By what a platform says of it.
    Platform {
        /// The platform.
        provider: Provider,
        /// The environment variable that the ID token is in, where that was configured.
        variable: Option<String>,
    },
}

/// Whom to believe when joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstTrust {
    /// A cluster whose host authority has one of these keys.
    Pins(Vec<Pin>),
    /// A server whose certificate leads to one of these PEM certificates.
    CaFile(PathBuf),
    /// A server that the system's roots vouch for.
    System,
}

/// A join token, or where it lies.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The token itself.
    Literal(Zeroizing<String>),
    /// A file that holds it; read when it is needed.
    File(PathBuf),
}

impl TokenSource {
    /// An absolute path names a file; anything else is meant itself.
    pub fn of(text: String) -> Self {
        match std::path::Path::new(&text).is_absolute() {
            true => Self::File(PathBuf::from(text)),
            false => Self::Literal(Zeroizing::new(text)),
        }
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(***)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// An output, or a service that gives out what it has.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// What it is called in health, metrics and logs; no two have the same.
    pub name: String,
    /// Where it is written.
    pub destination: Destination,
    /// Roles of its certificates; empty for all of the bot's.
    pub roles: Vec<RoleName>,
    /// What it is.
    pub content: Content,
    /// Life of its certificates that is asked for.
    pub certificate_ttl: Duration,
    /// Time between its renewals.
    pub renewal_interval: Duration,
    /// What is done after each of them.
    pub on_renew: Vec<Hook>,
}

/// What an output is.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// Files for SSH.
    Identity {
        /// The cluster it is for; absent for the bot's own.
        cluster: Option<ClusterName>,
        /// Whether `ssh_config` and `known_hosts` are written.
        ssh_config: bool,
    },
    /// Host key and host certificate of an SSH server, and whose users it believes.
    SshHost {
        /// Its names and addresses; at least one.
        principals: Vec<String>,
    },
    /// A stock OpenSSH server that is looked after.
    Sshd(Box<Sshd>),
    /// Files for a workload.
    Svid(SvidFiles),
    /// A socket for workloads. What it gives out is in no file: the output's destination is memory.
    WorkloadApi(WorkloadApi),
}

impl Content {
    /// An `identity` output as it is unless told otherwise.
    pub const IDENTITY: Self = Self::Identity { cluster: None, ssh_config: true };
}

impl Output {
    /// Whether `ssh_config` and `known_hosts` are written.
    pub fn ssh_config(&self) -> bool {
        matches!(self.content, Content::Identity { ssh_config: true, .. })
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match &self.content {
            Content::WorkloadApi(api) => format!("socket {}", api.listen.display()),
            Content::Identity { .. } | Content::Svid(_) | Content::SshHost { .. } | Content::Sshd(_) => {
                self.destination.to_string()
            }
        }
    }
}

/// The reference of the file for the documentation, from its types.
pub fn reference() -> String {
    format!(
        "# tbot.yaml\n\nGenerated from the types of the program. Unknown keys are refused, with the nearest known one; all \
         mistakes of a file are told at once. A flag of `tbot start` stands above the file.\n\n{}\n{}",
        yaml::reference::<file::File>(),
        yaml::refused_reference(&file::REFUSED)
    )
}
