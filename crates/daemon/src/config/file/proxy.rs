//! The section `proxy_service:`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Texts;

/// The gate through which clients come: one port for every protocol.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyService {
    /// Whether this host runs the proxy.
    pub enabled: bool,
    /// Address of the one port.
    pub web_listen_addr: String,
    /// Addresses at which clients reach the proxy; the first is the one they are told.
    pub public_addr: Texts,
    /// Web certificates. Without any, the proxy uses one that the cluster's own certificate authority issues; clients of
    /// this project trust it, browsers do not.
    pub https_keypairs: Vec<KeypairFiles>,
    /// How often the keypairs are read again; `0` for not at all. They are also read again on SIGHUP. If one of them is
    /// broken, all stay as they were.
    pub https_keypairs_reload_interval: Option<String>,
    /// Whether connections begin with a PROXY protocol header from a load balancer. With `on`, a connection without it
    /// is refused; with `off`, one with it is.
    pub proxy_protocol: ProxyProtocol,
}

impl Default for ProxyService {
    fn default() -> Self {
        Self {
            enabled: true,
            web_listen_addr: "0.0.0.0:3080".to_owned(),
            public_addr: Texts::default(),
            https_keypairs: Vec::new(),
            https_keypairs_reload_interval: None,
            proxy_protocol: ProxyProtocol::Off,
        }
    }
}

/// A web certificate and its key, as PEM files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeypairFiles {
    /// Absolute path of the private key.
    pub key_file: String,
    /// Absolute path of the certificate and the chain to its root.
    pub cert_file: String,
}

/// Whether a PROXY protocol header comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Always.
    On,
    /// Never.
    Off,
}
