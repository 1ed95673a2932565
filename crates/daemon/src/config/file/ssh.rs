//! The section `ssh_service:`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Texts;

/// The SSH server of this host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshService {
    /// Whether this host can be reached by SSH through the cluster.
    pub enabled: bool,
    /// Address on which SSH is served.
    pub listen_addr: String,
    /// Addresses at which the proxy reaches it.
    pub public_addr: Texts,
    /// Labels, by which roles select nodes.
    pub labels: BTreeMap<String, String>,
    /// Labels whose values are the output of commands.
    pub commands: Vec<Command>,
    /// Whether forwarding of ports and Unix sockets is allowed at all; roles decide within this.
    pub port_forwarding: bool,
    /// Forwarding of X11; roles decide within this.
    pub x11: X11,
    /// Whether `scp` and `sftp` are allowed at all; roles decide within this.
    pub ssh_file_copy: bool,
    /// Whether variables in a user's `~/.tsh/environment` are set in that user's sessions.
    pub permit_user_env: bool,
    /// The host's pluggable authentication modules (PAM), for account and session.
    pub pam: Pam,
}

/// Sessions go through PAM.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pam {
    /// Whether PAM decides over accounts and sets sessions up. Authentication is by certificate all the same.
    pub enabled: bool,
    /// The rules to use: a file in `/etc/pam.d`.
    pub service_name: String,
    /// Variables for PAM's modules. Values may be filled from the user's traits: `"{{external.team}}"`; without the trait
    /// the variable is left out.
    pub environment: BTreeMap<String, String>,
}

impl Default for Pam {
    fn default() -> Self {
        Self { enabled: false, service_name: "sshd".to_owned(), environment: BTreeMap::new() }
    }
}

impl Default for SshService {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_addr: "0.0.0.0:3022".to_owned(),
            public_addr: Texts::default(),
            labels: BTreeMap::new(),
            commands: Vec::new(),
            port_forwarding: true,
            x11: X11::default(),
            ssh_file_copy: true,
            permit_user_env: false,
            pam: Pam::default(),
        }
    }
}

/// Forwarding of X11, which needs `xauth` on this host.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct X11 {
    /// Whether X11 is forwarded at all.
    pub enabled: bool,
    /// The number of the first display for sessions; display 10 is port 6010 of the loopback interface.
    pub display_offset: u16,
    /// The number of the last one; 1000 after the first when it is not given.
    pub max_display: Option<u16>,
}

impl Default for X11 {
    fn default() -> Self {
        Self { enabled: false, display_offset: 10, max_display: None }
    }
}

/// A label whose value is the output of a command.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The key of the label.
    pub name: String,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// How often it runs, at least `1s`.
    #[serde(default = "every_minute")]
    pub period: String,
}

fn every_minute() -> String {
    "1m".to_owned()
}
