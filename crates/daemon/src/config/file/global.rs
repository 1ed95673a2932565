//! The section `postern:`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Texts;

/// Settings of the host as a whole.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Global {
    /// The name of this host in the cluster; the host name of the system when it is not given.
    pub nodename: Option<String>,
    /// Directory for everything the daemon keeps: identities, the store, sockets. One daemon at a time uses it.
    pub data_dir: String,
    /// The account that the daemon becomes when it is started as root, once it has its ports; one of `/etc/passwd`. `postern`
    /// when it is not given, and where there is no such account a number: 64317 with auth in the process, 64318 with a
    /// proxy and no auth, 64319 for a node alone. Not looked at otherwise.
    pub user: Option<String>,
    /// File to write the process id to while the daemon runs.
    pub pid_file: Option<String>,
    /// The join token, or the absolute path of a file that holds it; the same as `join_params` with method `token`. Not
    /// looked at after the host has joined.
    pub auth_token: Option<String>,
    /// How the host joins the cluster; in place of `auth_token`.
    pub join_params: Option<JoinParams>,
    /// What the certificate authority of the cluster must look like when the host joins: `sha256:...` as `tctl status`
    /// prints it, or the absolute path of a file with it.
    pub ca_pin: Texts,
    /// The IP address at which others reach this host, for services without a `public_addr`.
    pub advertise_ip: Option<String>,
    /// Address for health and metrics: `/livez`, `/readyz`, `/metrics`. Not served when it is not given. Without
    /// authentication, so keep it to a trusted network.
    pub diag_addr: Option<String>,
    /// The address of the auth service, for hosts that do not run it.
    pub auth_server: Option<String>,
    /// The address of a proxy that relays to the auth service, for hosts that cannot reach it directly.
    pub proxy_server: Option<String>,
    /// How long to go on after a stop was asked for, while `/readyz` already says no; for load balancers.
    pub shutdown_delay: Option<String>,
    /// How long open sessions may take to end when the daemon stops.
    pub drain_timeout: String,
    /// Logging.
    pub log: Log,
    /// Where the auth service keeps its data.
    pub storage: Storage,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            nodename: None,
            data_dir: crate::defaults::DATA_DIR.to_owned(),
            user: None,
            pid_file: None,
            auth_token: None,
            join_params: None,
            ca_pin: Texts::default(),
            advertise_ip: None,
            diag_addr: None,
            auth_server: None,
            proxy_server: None,
            shutdown_delay: None,
            drain_timeout: "30s".to_owned(),
            log: Log::default(),
            storage: Storage::default(),
        }
    }
}

/// Without the secrets.
impl std::fmt::Debug for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Global").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// How the host joins the cluster.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinParams {
    /// The method of the token.
    #[serde(default)]
    pub method: JoinMethod,
    /// The token, or the absolute path of a file that holds it.
    pub token_name: String,
    /// For method `bound_keypair`.
    pub bound_keypair: Option<BoundKeypair>,
    /// For method `tpm`.
    pub tpm: Option<Tpm>,
}

/// For join method `tpm`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tpm {
    /// Where the TPM is: a device, `unix:/path` or `tcp:host:port` of a simulator; `/dev/tpmrm0` when it is not given. The
    /// daemon's user must be able to read and write it.
    pub device: Option<String>,
    /// Which of its endorsement keys is shown.
    pub endorsement_key: EndorsementKey,
}

/// An endorsement key of a TPM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndorsementKey {
    /// RSA of 2048 bits.
    #[default]
    Rsa,
    /// ECC on P-256.
    Ecc,
}

/// For join method `bound_keypair`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundKeypair {
    /// The registration secret of the token, or the absolute path of a file that holds it. Needed only to bind the key.
    pub registration_secret: Option<String>,
}

/// How a host proves that it may join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinMethod {
    /// By knowing the token.
    #[default]
    Token,
    /// By a key that it keeps in its data directory. It comes back with it after any outage.
    BoundKeypair,
    /// By the TPM 2.0 of this machine.
    Tpm,
    /// By the ID token of the service account that its pod runs as.
    Kubernetes,
}

/// Logging. The level and a file are changed or opened again on SIGHUP.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `stderr`, `stdout`, or the absolute path of a file; `stderr` when it is not given.
    pub output: Option<String>,
    /// The least severe messages that are written.
    pub severity: Severity,
    /// The form of a message.
    pub format: Format,
}

/// The form of a message.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Format {
    /// For people or for programs.
    pub output: LogFormat,
}

/// How severe a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Steps within one connection.
    Debug,
    /// What an operator wants to look up later.
    #[default]
    Info,
    /// Something is not as it should be, and work goes on.
    Warn,
    /// Something could not be done.
    Error,
}

/// In which form messages are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the auth service keeps its data.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// The storage engine.
    #[serde(rename = "type")]
    pub engine: StorageType,
    /// Absolute path of the database, a file; SQLite keeps `-wal` and `-shm` beside it, and auth a `.lock`. `backend` in the
    /// data directory when it is not given.
    pub path: Option<String>,
}

/// A storage engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// A SQLite database in one file.
    #[default]
    Sqlite,
    /// Another name for `sqlite`.
    Dir,
}
