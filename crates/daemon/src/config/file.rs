//! The file as written: one type per section, one field per key. From these types come the checks of spelling and
//! type, and the configuration reference, so the comment of a field is what its users read.
//!
//! Nothing is judged here; that is done by `check`.

pub mod auth;
pub mod global;
pub mod proxy;
pub mod ssh;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{AuthService, Authentication, LockingMode, RoutingStrategy};
pub use global::{
    BoundKeypair, EndorsementKey, Format, Global, JoinMethod, JoinParams, Log, LogFormat, Severity, Storage,
    StorageType,
};
pub use proxy::{KeypairFiles, ProxyProtocol, ProxyService};
pub use ssh::{Command, Pam, SshService, X11};

/// The daemon's configuration, usually `/etc/postern.yaml`. Each service runs unless its section says `enabled: no`.
/// `yes` and `no` may also be written `on` and `off`, or `true` and `false`; durations are written like `1h30m`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The version of this format; `v3` is the one that is read, and it must be given.
    pub version: Option<String>,
    /// Settings of the host as a whole. The section may also be called `teleport`.
    pub postern: Global,
    /// The certificate authority, policy and audit.
    pub auth_service: AuthService,
    /// The gate through which clients come.
    pub proxy_service: ProxyService,
    /// The SSH server of this host.
    pub ssh_service: SshService,
}

/// One text or several.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Texts {
    /// Just one.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl Texts {
    /// The texts with their places below `path`; an empty text is none.
    pub(super) fn with_paths(&self, path: &str) -> Vec<(String, &str)> {
        match self {
            Self::One(text) => vec![(path.to_owned(), text.as_str())],
            Self::Many(texts) => texts
                .iter()
                .enumerate()
                .map(|(nth, text)| (format!("{path}[{nth}]"), text.as_str()))
                .collect(),
        }
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Tokens are among the texts.
impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts(..)")
    }
}
