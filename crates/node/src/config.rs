//! What a node is told when it starts. Everything in it was checked by whoever read it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use access::template::{Template, TemplateError};
use access::{HostId, Labels, NodeName};
use transport::listen::Listen;
use transport::ssh::{Algorithms, Rekey};

use crate::launcher::LauncherStart;

/// How one node serves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where SSH is served; port 0 takes a free one.
    pub listen: Listen,
    /// `host:port` at which proxies reach it; absent where the listening address says it, or auth finds out.
    pub advertise: Option<String>,
    /// Other `host:port` addresses of it.
    pub public_addrs: Vec<String>,
    /// The name that clients use.
    pub nodename: NodeName,
    /// Fixed labels.
    pub labels: BTreeMap<String, String>,
    /// Labels whose values are what commands print.
    pub commands: Vec<CommandLabel>,
    /// Whether forwarding is possible at all; roles decide within this.
    pub port_forwarding: bool,
    /// Whether SFTP and scp are possible at all; roles decide within this.
    pub file_copy: bool,
    /// The displays that sessions can have, if X11 is forwarded at all; roles decide within this.
    pub x11: Option<Displays>,
    /// Whether `~/.tsh/environment` sets variables of its owner's sessions.
    pub user_env: bool,
    /// How the host's pluggable authentication modules are asked; `None` leaves them out.
    pub pam: Option<Pam>,
    /// The program `session-exec`.
    pub session_exec: PathBuf,
    /// Resource limits for sessions: those that the daemon was started with, before it raised its own.
    pub session_limits: exec::Limits,
    /// What is offered to clients.
    pub algorithms: Algorithms,
    /// When fresh keys are agreed on.
    pub rekey: Rekey,
    /// How much of the host the node may use.
    pub limits: Limits,
}

impl Config {
    /// A node with everything allowed and nothing unusual.
    #[must_use]
    pub fn new(listen: impl Into<Listen>, nodename: NodeName, session_exec: PathBuf) -> Self {
        Self {
            listen: listen.into(),
            advertise: None,
            public_addrs: Vec::new(),
            nodename,
            labels: BTreeMap::new(),
            commands: Vec::new(),
            port_forwarding: true,
            file_copy: true,
            x11: None,
            user_env: false,
            pam: None,
            session_exec,
            session_limits: exec::Limits::capture(),
            algorithms: Algorithms::default(),
            rekey: Rekey::default(),
            limits: Limits::default(),
        }
    }
}

/// Numbers of displays that sessions can have; each stands for a port, 6000 and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Displays {
    /// The first.
    pub offset: u16,
    /// The last.
    pub most: u16,
}

/// How the host's pluggable authentication modules are asked: about the account, and to open the session. The launcher is
/// told at its start, and nothing of it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pam(launcher::protocol::Pam);

impl Pam {
    /// By the rules of this service, with variables that are filled from traits.
    pub fn new(service: &str, environment: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        environment.values().try_for_each(|value| Template::new(value).map(drop))?;
        Ok(Self(launcher::protocol::Pam { service: service.to_owned(), environment: environment.clone() }))
    }
}

impl Config {
    /// What the launcher of such a node is told; it keeps what it keeps in `directory`.
    #[must_use]
    pub fn launcher(&self, host: HostId, directory: PathBuf) -> LauncherStart {
        LauncherStart {
            directory,
            session_exec: self.session_exec.clone(),
            host,
            labels: Labels(self.labels.clone()),
            label_commands: self.commands.iter().map(|label| label.name.clone()).collect(),
            file_copy: self.file_copy,
            port_forwarding: self.port_forwarding,
            pam: self.pam.clone().map(|Pam(pam)| pam),
            user_env: self.user_env,
            login_grace: self.limits.login_grace,
            session_limits: self.session_limits.entries().to_vec(),
        }
    }
}

/// A label whose value is what a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLabel {
    /// The label's key.
    pub name: String,
    /// Program and arguments; no shell is involved.
    pub argv: Vec<String>,
    /// How often it runs; at least a second.
    pub period: Duration,
}

/// Bounds that hold whatever roles say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have not logged in yet, in all. Above it, the address that has most of them loses one to the
    /// newcomer.
    pub startups: usize,
    /// Connections from one address (IPv6: one /64) that have not logged in yet; above it, it loses one to the newcomer.
    /// A proxy's clients all come from its address.
    pub strangers_per_address: usize,
    /// Connections in all.
    pub connections: usize,
    /// Time to log in.
    pub login_grace: Duration,
    /// Channels of one connection.
    pub channels: usize,
    /// Listeners that one connection may have for `ssh -R`.
    pub listeners: usize,
    /// How old the view of locks may be where locking is strict.
    pub lock_age: Duration,
    /// Sessions that are being started at once, each of which occupies a thread while name services think.
    pub launches: usize,
    /// Those of one account; more of them wait for each other.
    pub launches_per_login: usize,
    /// How long a session may wait to be one of them.
    pub launch_wait: Duration,
    /// How long connections may go on when the node stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            startups: 512,
            strangers_per_address: 256,
            connections: 15_000,
            login_grace: Duration::from_secs(30),
            channels: 512,
            listeners: 32,
            lock_age: Duration::from_secs(300),
            launches: 64,
            launches_per_login: 16,
            launch_wait: Duration::from_secs(20),
            drain: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pam;

    #[test]
    fn templates_for_modules_are_checked_before_the_launcher_gets_them() {
        Pam::new("sshd", &[("A".to_owned(), "{{external.team}}".to_owned())].into()).expect("a template");
        Pam::new("sshd", &[("A".to_owned(), "{{".to_owned())].into()).expect_err("braces");
    }
}
