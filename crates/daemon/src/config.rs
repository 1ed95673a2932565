//! The configuration of the daemon: the file as written (`file`), and the checked [`Config`] that is made of it, in
//! which only legal combinations exist.
//!
//! A key is either acted on, refused by name (`refused`), or unknown; none is ignored. All mistakes of a file are
//! reported at once, with line and key.

mod address;
mod check;
pub mod file;
mod join;
mod load;
pub(crate) mod pam;
pub(crate) mod read;
mod refused;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use access::{
    ClusterName, HostPort, Labels, NodeName,
    resource::cluster::{AuthPreferenceSpec, NetworkingSpec},
    spiffe::TokenIssuer,
};

pub use check::parse;
pub use join::{JoinProof, JoinSecret, Pin, StaticToken};
pub use load::{ConfigError, load};

/// The port of the auth service.
pub const AUTH_PORT: u16 = 3025;
/// The port of the proxy.
pub const PROXY_PORT: u16 = 3080;
/// The port of a node.
pub const SSH_PORT: u16 = 3022;
/// The port of health and metrics, where an address has none.
const DIAG_PORT: u16 = 3000;

/// The reference of all keys in Markdown, written from the types that read them.
#[must_use]
pub fn reference() -> String {
    format!(
        "{}## Keys that are refused\n\nExisting files may have them; Postern does not act on them, and says so. A key that \
         is empty or switched off asks for nothing and is let through.\n\n{}",
        yaml::reference::<file::File>(),
        yaml::refused_reference(&refused::REFUSED)
    )
}

/// Everything the daemon was told, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name of this host in the cluster.
    pub node_name: NodeName,
    /// Where state lives; absolute.
    pub data_dir: PathBuf,
    /// The account that the daemon becomes when it is root.
    pub user: Option<String>,
    /// File that holds the process id while the daemon runs.
    pub pid_file: Option<PathBuf>,
    /// Where health and metrics are served.
    pub diag_addr: Option<SocketAddr>,
    /// How logs are written.
    pub log: Log,
    /// How the daemon stops.
    pub stop: Stop,
    /// The services to run; at least one.
    pub services: Services,
    /// What is legal and probably not meant; to be logged.
    pub warnings: Vec<String>,
}

/// The services of one process, and how they reach auth.
#[derive(Debug, Clone, PartialEq)]
pub struct Services {
    /// The certificate authority, policy and audit.
    pub auth: Option<AuthConfig>,
    /// The gate.
    pub proxy: Option<ProxyConfig>,
    /// The SSH server.
    pub node: Option<NodeConfig>,
    /// How proxy and node reach auth.
    pub upstream: Upstream,
}

impl Services {
    /// The names of the services that run, as logs, health and `--roles` have them.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let enabled =
            [("auth", self.auth.is_some()), ("proxy", self.proxy.is_some()), ("node", self.node.is_some())];
        enabled.into_iter().filter_map(|(name, enabled)| enabled.then_some(name)).collect()
    }
}

/// Where auth is, seen from the proxy and the node of this process.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    /// Auth is a service of this process.
    ThisProcess,
    /// Auth is elsewhere.
    Remote(Remote),
}

/// The way to an auth service elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// What is dialled.
    pub server: Server,
    /// How to join; not needed once this data directory has joined.
    pub secret: Option<JoinSecret>,
    /// What more is shown.
    pub proof: JoinProof,
    /// What the cluster's certificate authority must look like; empty where nothing was pinned.
    pub pins: Vec<Pin>,
}

/// What is dialled to reach auth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The auth service itself.
    Auth(HostPort),
    /// A proxy, which relays to auth.
    Proxy(HostPort),
}

/// The auth service.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// Takes effect at the first start; fixed from then on.
    pub cluster_name: ClusterName,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where others reach the API, if that is not told by `listen`.
    pub public: Vec<HostPort>,
    /// The SQLite store.
    pub storage: PathBuf,
    /// Tokens that stand in the file.
    pub static_tokens: Vec<StaticToken>,
    /// What JWT-SVIDs say of who issued them.
    pub workload_issuer: Option<TokenIssuer>,
    /// Set when the file has any of these settings; they then cannot be changed otherwise.
    pub preference: Option<AuthPreferenceSpec>,
    /// Set when the file has any of these settings; they then cannot be changed otherwise.
    pub networking: Option<NetworkingSpec>,
}

/// The proxy service.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyConfig {
    /// The one port, for every protocol.
    pub listen: SocketAddr,
    /// Where clients reach it; the first is the one they are told.
    pub public: Vec<HostPort>,
    /// Web certificates; without any, the cluster's own host CA issues one.
    pub keypairs: Vec<Keypair>,
    /// How often the keypairs are read again; they are also read on SIGHUP.
    pub keypairs_reload: Option<Duration>,
    /// Whether connections begin with a PROXY protocol header; then they must.
    pub proxy_protocol: bool,
}

/// A web certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keypair {
    /// The private key.
    pub key_file: PathBuf,
    /// The certificate chain.
    pub cert_file: PathBuf,
}

/// The SSH service.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Where SSH is served.
    pub listen: SocketAddr,
    /// Where the proxy reaches it, if that is not told by `listen`.
    pub public: Vec<HostPort>,
    /// Fixed labels.
    pub labels: Labels,
    /// Labels whose values are told by commands.
    pub commands: Vec<LabelCommand>,
    /// Whether TCP forwarding is allowed at all; roles decide within this.
    pub port_forwarding: bool,
    /// Whether `scp` and `sftp` are allowed at all; roles decide within this.
    pub file_copy: bool,
    /// The first and the last display for sessions, if X11 is forwarded at all; roles decide within this.
    pub x11: Option<(u16, u16)>,
    /// Whether users' own files may set variables of their sessions.
    pub user_env: bool,
    /// How the host's pluggable authentication modules are asked; `None` where they are not.
    pub pam: Option<PamConfig>,
}

/// How pluggable authentication modules are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PamConfig {
    /// The name of the rules.
    pub service: String,
    /// Variables for the modules, each with a checked template for its value.
    pub environment: BTreeMap<String, String>,
}

/// A label whose value is the output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCommand {
    /// The label's key.
    pub name: String,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// How often it runs; at least a second.
    pub period: Duration,
}

/// How logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where to.
    pub output: LogOutput,
    /// The least severe that is written.
    pub severity: file::Severity,
    /// In which form.
    pub format: file::LogFormat,
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to; opened again on SIGHUP.
    File(PathBuf),
}

/// How the daemon stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How long it goes on after a stop was asked for, already telling `/readyz` that it will.
    pub delay: Duration,
    /// How long open sessions may then take to end.
    pub drain: Duration,
}
