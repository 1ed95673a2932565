//! What a proxy is told, and why it cannot start.

use std::path::PathBuf;
use std::time::Duration;

use access::HostPort;
use agent::JoinSource;
use transport::listen::{BindError, Listen};
use transport::tls::WebCertificates;

/// What a proxy is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one port; 0 lets the system choose.
    pub listen: Listen,
    /// Where clients reach it, most wanted first; without any, `listen`.
    pub public: Vec<HostPort>,
    /// Web certificates, read already; without any, the cluster's own.
    pub web: WebCertificates,
    /// How often they are read again.
    pub keypairs_reload: Option<Duration>,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The daemon's data directory.
    pub data_dir: PathBuf,
    /// The auth service.
    pub auth: HostPort,
    /// How to join, as long as it has not.
    pub join: Option<JoinSource>,
    /// This machine's name.
    pub hostname: String,
    /// After being told to stop: how long relays may go on.
    pub drain: Duration,
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The membership.
    #[error(transparent)]
    Agent(#[from] agent::StartError),
}
