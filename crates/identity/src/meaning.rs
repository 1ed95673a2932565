//! The only model of who someone is.
//!
//! SSH certificates carry it in the extensions of the fact sheet (section 3.1), X.509 certificates in a URI SAN
//! plus one private extension. Mapped in `ssh` and `x509`, each of which destructures these structs without
//! `..`, so that a new field does not compile until it is mapped.

use access::name::SystemRole;
use access::{BotName, ClusterName, HostId, InstanceId, Login, RoleName, Traits, UserName};
use std::net::IpAddr;

/// Who someone is, within one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster whose authority says so.
    pub cluster: ClusterName,
    /// A user, a bot or a host.
    pub subject: Subject,
}

/// The three kinds of subjects; bots are users with an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Signed by the user authority.
    User(Box<UserIdentity>),
    /// Signed by the host authority.
    Host(HostIdentity),
}

/// A person or a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserIdentity {
    /// `bot-<name>` for bots.
    pub name: UserName,
    /// Set for bots.
    pub bot: Option<BotIdentity>,
    /// Roles to decide by; never empty in an issued certificate.
    pub roles: Vec<RoleName>,
    /// Fill the templates of the roles.
    pub traits: Traits,
    /// SSH principals. Empty is nobody.
    pub logins: Vec<Login>,
    /// What OpenSSH servers may allow.
    pub permits: Permits,
    /// Who asked for it, when that is not the subject itself.
    pub impersonator: Option<UserName>,
    /// May be exchanged for its next generation; only a bot's own identity.
    pub renewable: bool,
    /// May not be exchanged for any other certificate.
    pub disallow_reissue: bool,
    /// The address it was issued to, for the record.
    pub login_ip: Option<IpAddr>,
    /// The only address it may be used from (critical option `source-address`).
    pub pinned_ip: Option<IpAddr>,
}

/// Which copy of which bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotIdentity {
    /// The bot.
    pub name: BotName,
    /// The copy.
    pub instance: InstanceId,
    /// Counts renewals from 1; absent on outputs.
    pub generation: Option<u64>,
}

/// The `permit-*` extensions (PROTOCOL.certkeys).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permits {
    /// `permit-pty`
    pub pty: bool,
    /// `permit-port-forwarding`
    pub port_forwarding: bool,
    /// `permit-agent-forwarding`
    pub agent_forwarding: bool,
    /// `permit-X11-forwarding`
    pub x11_forwarding: bool,
}

/// An auth service, a proxy or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// Drawn once, kept in the data directory.
    pub id: HostId,
    /// What it does; never [`SystemRole::Bot`].
    pub role: SystemRole,
    /// SSH principals and TLS names: DNS names and addresses as text.
    pub names: Vec<String>,
}
