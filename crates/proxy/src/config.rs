//! What a proxy is told, and why it cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use access::HostPort;
use agent::JoinSource;
use transport::listen::BindError;
use transport::tls::{WebCertificateError, WebKeypair};

/// What a proxy is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one port; 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where clients reach it, most wanted first; without any, `listen`.
    pub public: Vec<HostPort>,
    /// Web certificates; without any, the cluster's own.
    pub keypairs: Vec<WebKeypair>,
    /// How often the keypairs are read again.
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
    /// The web certificates.
    #[error(transparent)]
    WebCertificate(#[from] WebCertificateError),
    /// The membership.
    #[error(transparent)]
    Agent(#[from] agent::StartError),
}
