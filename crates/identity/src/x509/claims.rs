//! Identity to and from the SANs and the private extension.

use super::parsed::Parsed;
use crate::meaning::{BotIdentity, HostIdentity, Permits, UserIdentity};
use crate::trust::AUTH_SERVER_NAME;
use crate::{Identity, Refusal, Subject};
use access::{BotName, ClusterName, HostId, InstanceId, Login, RoleName, SystemRole, Traits, UserName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The private extension. The arc is the one under which anybody may place a UUID of their own in parts of at
/// most 48 bits; this is 66da5198-35e6-482a-9ebd-7aa9adbe22fe.
pub const EXTENSION_OID: &[u64] =
    &[1, 2, 840, 113_556, 1, 8000, 2554, 26330, 20888, 13798, 18474, 40637, 8_038_829, 12_460_798];

/// The most that the extension may hold.
pub const MAX_EXTENSION: usize = 32 * 1024;

const VERSION: u32 = 1;

/// The parts that carry an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The URI SAN.
    pub uri: String,
    /// DNS SANs; hosts only.
    pub dns: BTreeSet<String>,
    /// Address SANs; hosts only.
    pub addresses: BTreeSet<IpAddr>,
    /// For people; decides nothing.
    pub common_name: String,
    /// What [`EXTENSION_OID`] holds: versioned JSON.
    pub extension: Vec<u8>,
}

impl Claims {
    /// Writes an identity.
    pub fn of(identity: &Identity) -> Self {
        let uri = identity.uri();
        let extension =
            serde_json::to_vec(&Wire::of(identity)).expect("an identity is names, lists and flags");
        let (mut dns, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        let common_name = match &identity.subject {
            Subject::User(user) => user.name.to_string(),
            Subject::Host(host) => {
                for name in host.own_names(&identity.cluster).into_iter().chain(host.names.iter().cloned()) {
                    match name.parse() {
                        Ok(address) => _ = addresses.insert(address),
                        Err(_) => _ = dns.insert(name),
                    }
                }
                if host.role == SystemRole::Auth {
                    dns.insert(AUTH_SERVER_NAME.to_owned());
                }
                host.id.to_string()
            }
        };
        Self { uri, dns, addresses, common_name, extension }
    }

    /// Reads the identity of a certificate; the SANs must say what the extension says, no more and no less.
    pub(crate) fn read(parsed: &Parsed<'_>) -> Result<Identity, Refusal> {
        let extension = parsed.extension.ok_or_else(|| bad("it carries none"))?;
        if extension.len() > MAX_EXTENSION {
            return Err(Refusal::TooLarge { length: extension.len(), limit: MAX_EXTENSION });
        }
        let version: Version = serde_json::from_slice(extension).map_err(|_| bad("it is not ours"))?;
        if version.v != VERSION {
            return Err(bad(format!("version {} is not known; upgrade this program", version.v)));
        }
        let wire: Wire = serde_json::from_slice(extension).map_err(|_| bad("it is not of version 1"))?;
        let identity = wire.into_identity();
        identity.check().map_err(bad)?;
        let expected = Self::of(&identity);
        let agrees = parsed.names.uris == [expected.uri.as_str()]
            && parsed.names.dns == expected.dns
            && parsed.names.addresses == expected.addresses;
        match agrees {
            true => Ok(identity),
            false => Err(bad("its alternative names and its extension disagree")),
        }
    }
}

fn bad(what: impl ToString) -> Refusal {
    Refusal::BadIdentity(what.to_string())
}

/// Read before anything else, and then nothing else of an unknown version.
#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u32,
    cluster: ClusterName,
    subject: SubjectWire,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum SubjectWire {
    User(UserWire),
    Host(HostWire),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserWire {
    name: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bot: Option<BotWire>,
    roles: Vec<RoleName>,
    #[serde(default, skip_serializing_if = "Traits::is_empty")]
    traits: Traits,
    logins: Vec<Login>,
    permits: PermitsWire,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    impersonator: Option<UserName>,
    renewable: bool,
    disallow_reissue: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned_ip: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BotWire {
    name: BotName,
    instance: InstanceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    join_token: Option<String>,
}

impl From<BotIdentity> for BotWire {
    fn from(BotIdentity { name, instance, generation, join_token }: BotIdentity) -> Self {
        Self { name, instance, generation, join_token }
    }
}

impl From<BotWire> for BotIdentity {
    fn from(BotWire { name, instance, generation, join_token }: BotWire) -> Self {
        Self { name, instance, generation, join_token }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermitsWire {
    pty: bool,
    port_forwarding: bool,
    agent_forwarding: bool,
    x11_forwarding: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostWire {
    id: HostId,
    role: SystemRole,
    names: Vec<String>,
}

impl Wire {
    fn of(identity: &Identity) -> Self {
        let Identity { cluster, subject } = identity.clone();
        let subject = match subject {
            Subject::User(user) => SubjectWire::User(UserWire::of(*user)),
            Subject::Host(HostIdentity { id, role, names }) => {
                SubjectWire::Host(HostWire { id, role, names })
            }
        };
        Self { v: VERSION, cluster, subject }
    }

    fn into_identity(self) -> Identity {
        let Self { v: _, cluster, subject } = self;
        let subject = match subject {
            SubjectWire::User(user) => Subject::User(Box::new(user.into_identity())),
            SubjectWire::Host(HostWire { id, role, names }) => {
                Subject::Host(HostIdentity { id, role, names })
            }
        };
        Identity { cluster, subject }
    }
}

impl UserWire {
    fn of(user: UserIdentity) -> Self {
        let UserIdentity {
            name,
            bot,
            roles,
            traits,
            logins,
            permits: Permits { pty, port_forwarding, agent_forwarding, x11_forwarding },
            impersonator,
            renewable,
            disallow_reissue,
            login_ip,
            pinned_ip,
        } = user;
        Self {
            name,
            bot: bot.map(BotWire::from),
            roles,
            traits,
            logins,
            permits: PermitsWire { pty, port_forwarding, agent_forwarding, x11_forwarding },
            impersonator,
            renewable,
            disallow_reissue,
            login_ip,
            pinned_ip,
        }
    }

    fn into_identity(self) -> UserIdentity {
        let Self {
            name,
            bot,
            roles,
            traits,
            logins,
            permits: PermitsWire { pty, port_forwarding, agent_forwarding, x11_forwarding },
            impersonator,
            renewable,
            disallow_reissue,
            login_ip,
            pinned_ip,
        } = self;
        UserIdentity {
            name,
            bot: bot.map(BotIdentity::from),
            roles,
            traits,
            logins,
            permits: Permits { pty, port_forwarding, agent_forwarding, x11_forwarding },
            impersonator,
            renewable,
            disallow_reissue,
            login_ip,
            pinned_ip,
        }
    }
}
