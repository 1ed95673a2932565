//! The only model of who someone is.
//!
//! SSH certificates carry it in the extensions of the fact sheet (section 3.1), X.509 certificates in a URI SAN
//! plus one private extension. Mapped in `ssh` and `x509`, each of which destructures these structs without
//! `..`, so that a new field does not compile until it is mapped.

use crate::names;
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

impl Identity {
    /// `spiffe://<cluster>/bot/<name>/<instance>`, `/user/<name>`, `/auth/<id>`, `/proxy/<id>` or `/node/<id>`.
    /// User names may hold `@` and `+`, which a URI path allows and SPIFFE's own stricter alphabet does not.
    pub fn uri(&self) -> String {
        let cluster = &self.cluster;
        match &self.subject {
            Subject::User(user) => match &user.bot {
                Some(bot) => format!("spiffe://{cluster}/bot/{}/{}", bot.name, bot.instance),
                None => format!("spiffe://{cluster}/user/{}", user.name),
            },
            Subject::Host(host) => {
                format!("spiffe://{cluster}/{}/{}", host.role.as_str().to_ascii_lowercase(), host.id)
            }
        }
    }

    /// Whether it may stand in a certificate. Asked before one is signed and after one is read.
    pub fn check(&self) -> Result<(), BadIdentity> {
        match &self.subject {
            Subject::User(user) => user.check(),
            Subject::Host(host) => host.check(&self.cluster),
        }
    }

    /// The user, if it is one.
    pub fn user(&self) -> Option<&UserIdentity> {
        match &self.subject {
            Subject::User(user) => Some(user),
            Subject::Host(_) => None,
        }
    }

    /// The host, if it is one.
    pub fn host(&self) -> Option<&HostIdentity> {
        match &self.subject {
            Subject::User(_) => None,
            Subject::Host(host) => Some(host),
        }
    }
}

impl UserIdentity {
    /// A person with these roles who may log in nowhere and do nothing yet.
    #[must_use]
    pub fn person(name: UserName, roles: Vec<RoleName>) -> Self {
        Self {
            name,
            bot: None,
            roles,
            traits: Traits::default(),
            logins: Vec::new(),
            permits: Permits::default(),
            impersonator: None,
            renewable: false,
            disallow_reissue: false,
            login_ip: None,
            pinned_ip: None,
        }
    }

    fn check(&self) -> Result<(), BadIdentity> {
        if self.roles.is_empty() {
            return Err(BadIdentity::NoRoles(self.name.clone()));
        }
        match &self.bot {
            Some(bot) if bot.name.resource_name() != self.name.as_str() => {
                return Err(BadIdentity::OtherBot { user: self.name.clone(), bot: bot.name.clone() });
            }
            None if self.renewable => return Err(BadIdentity::RenewableUser(self.name.clone())),
            _ => {}
        }
        if self.renewable && self.disallow_reissue {
            return Err(BadIdentity::Contradiction(self.name.clone()));
        }
        let odd = self.logins.iter().find(|login| !names::is_login(login.as_str()));
        odd.map_or(Ok(()), |login| Err(BadIdentity::Name(login.to_string())))
    }
}

impl HostIdentity {
    fn check(&self, cluster: &ClusterName) -> Result<(), BadIdentity> {
        if self.role == SystemRole::Bot {
            return Err(BadIdentity::BotHost);
        }
        let mut seen: Vec<String> = self.own_names(cluster).into();
        seen.push(crate::trust::AUTH_SERVER_NAME.to_owned());
        for name in &self.names {
            if !names::is_host(name) {
                return Err(BadIdentity::Name(name.clone()));
            }
            if seen.contains(name) {
                return Err(BadIdentity::ReservedName(name.clone()));
            }
            seen.push(name.clone());
        }
        Ok(())
    }

    /// The names that every host has before any that it was given: `<id>.<cluster>` and `<id>`.
    pub fn own_names(&self, cluster: &ClusterName) -> [String; 2] {
        [format!("{}.{cluster}", self.id), self.id.to_string()]
    }
}

/// The three kinds of subjects; bots are users with an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Signed by the user authority.
    User(Box<UserIdentity>),
    /// Signed by the host authority.
    Host(HostIdentity),
}

/// Who is counted as one, whatever certificate it shows: what one holder has in use at once or causes is bounded by this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Member {
    /// A copy of a bot, with everything that was issued to it.
    Instance(InstanceId),
    /// A person.
    User(UserName),
    /// A host, in all its roles.
    Host(HostId),
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instance(id) => write!(f, "bot instance {id}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Host(id) => write!(f, "host {id}"),
        }
    }
}

impl Subject {
    /// Who it is counted as.
    pub fn member(&self) -> Member {
        match self {
            Self::User(user) => user.member(),
            Self::Host(host) => Member::Host(host.id),
        }
    }
}

impl UserIdentity {
    /// Who it is counted as.
    pub fn member(&self) -> Member {
        match &self.bot {
            Some(bot) => Member::Instance(bot.instance),
            None => Member::User(self.name.clone()),
        }
    }
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
    /// SSH principals. Empty is nobody: the certificate then names a principal that no account has.
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
    /// The token that it joined with, where that one's name is no secret: what locks may hit.
    pub join_token: Option<String>,
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

/// Why an identity is none: it contradicts itself, or says more than its kind may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Nobody decides anything about someone without roles.
    #[error("{0} has no roles")]
    NoRoles(UserName),
    /// The user of a bot is called `bot-<name>`.
    #[error("{user} is not the user of the bot {bot}")]
    OtherBot {
        /// The user's name.
        user: UserName,
        /// The bot's name.
        bot: BotName,
    },
    /// Only a bot renews itself.
    #[error("{0} is renewable without being a bot")]
    RenewableUser(UserName),
    /// It cannot be both.
    #[error("{0} is renewable and may not be reissued at once")]
    Contradiction(UserName),
    /// A name that could match something else than itself.
    #[error("{0:?} is not a plain lower-case name")]
    Name(String),
    /// A name twice, or one that the encoding adds by itself.
    #[error("the name {0:?} is there twice or is reserved")]
    ReservedName(String),
    /// Bots are users.
    #[error("a host cannot have the role Bot")]
    BotHost,
}

/// An auth service, a proxy or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// Drawn once, kept in the data directory.
    pub id: HostId,
    /// What it does; never [`SystemRole::Bot`].
    pub role: SystemRole,
    /// SSH principals and TLS names beside its [own](Self::own_names): DNS names and addresses as text.
    pub names: Vec<String>,
}
