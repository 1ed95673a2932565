//! Users and bots: key id is the user's name, principals are the logins, the rest stands in extensions.

use super::{Claims, SOURCE_ADDRESS, bad, extension};
use crate::meaning::{BotIdentity, Permits, UserIdentity};
use crate::ssh::certificate::{CertificateType, RawCertificate, option_value};
use crate::verify::source_address;
use crate::{Identity, Refusal, Subject};
use access::{BotName, ClusterName, Login, RoleName, Traits, UserName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use uuid::Uuid;

/// Stands where there are no logins: OpenSSH takes an empty list for everybody, and no account has this name.
const NOBODY: &str = "-teleport-nologin-";

const PTY: &str = "permit-pty";
const PORT_FORWARDING: &str = "permit-port-forwarding";
const AGENT_FORWARDING: &str = "permit-agent-forwarding";
const X11_FORWARDING: &str = "permit-X11-forwarding";
const ROLES: &str = "teleport-roles";
const TRAITS: &str = "teleport-traits";
const CLUSTER: &str = "teleport-route-to-cluster";
const BOT_NAME: &str = "bot-name@goteleport.com";
const BOT_INSTANCE: &str = "bot-instance-id@goteleport.com";
const JOIN_TOKEN: &str = "join-token@goteleport.com";
const GENERATION: &str = "generation";
const RENEWABLE: &str = "renewable";
const DISALLOW_REISSUE: &str = "disallow-reissue";
const IMPERSONATOR: &str = "impersonator";
const LOGIN_IP: &str = "login-ip";

pub(super) const EXTENSIONS: &[&str] = &[
    PTY,
    PORT_FORWARDING,
    AGENT_FORWARDING,
    X11_FORWARDING,
    ROLES,
    TRAITS,
    CLUSTER,
    BOT_NAME,
    BOT_INSTANCE,
    JOIN_TOKEN,
    GENERATION,
    RENEWABLE,
    DISALLOW_REISSUE,
    IMPERSONATOR,
    LOGIN_IP,
];

/// The value of `teleport-roles`.
#[derive(Serialize, Deserialize)]
struct RoleList {
    version: String,
    roles: Vec<RoleName>,
}

pub(super) fn encode(cluster: &ClusterName, user: &UserIdentity, nobody: Uuid) -> Claims {
    let UserIdentity {
        name,
        bot,
        roles,
        traits,
        logins,
        permits,
        impersonator,
        renewable,
        disallow_reissue,
        login_ip,
        pinned_ip,
    } = user;
    let Permits { pty, port_forwarding, agent_forwarding, x11_forwarding } = permits;
    let roles = RoleList { version: "v1".to_owned(), roles: roles.clone() };
    let mut extensions = BTreeMap::from([
        (ROLES, serde_json::to_string(&roles).expect("names are text")),
        (TRAITS, serde_json::to_string(traits).expect("traits are lists of text")),
        (CLUSTER, cluster.to_string()),
    ]);
    let flags = [
        (PTY, pty),
        (PORT_FORWARDING, port_forwarding),
        (AGENT_FORWARDING, agent_forwarding),
        (X11_FORWARDING, x11_forwarding),
        (RENEWABLE, renewable),
        (DISALLOW_REISSUE, disallow_reissue),
    ];
    extensions.extend(flags.into_iter().filter(|(_, set)| **set).map(|(name, _)| (name, String::new())));
    if let Some(BotIdentity { name, instance, generation, join_token }) = bot {
        extensions.insert(BOT_NAME, name.to_string());
        extensions.insert(BOT_INSTANCE, instance.to_string());
        extensions.extend(generation.map(|number| (GENERATION, number.to_string())));
        extensions.extend(join_token.as_ref().map(|token| (JOIN_TOKEN, token.clone())));
    }
    extensions.extend(impersonator.as_ref().map(|user| (IMPERSONATOR, user.to_string())));
    extensions.extend(login_ip.map(|address| (LOGIN_IP, address.to_string())));
    let principals = match logins.as_slice() {
        [] => vec![format!("{NOBODY}{nobody}")],
        logins => logins.iter().map(Login::to_string).collect(),
    };
    let pinned = pinned_ip.map(|address| (SOURCE_ADDRESS.to_owned(), source_address::single(address)));
    Claims {
        kind: CertificateType::User,
        key_id: name.to_string(),
        principals,
        critical_options: pinned.into_iter().collect(),
        extensions: extensions.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

pub(super) fn decode(raw: &RawCertificate<'_>, peer: Option<IpAddr>) -> Result<Identity, Refusal> {
    let cluster = extension(raw, CLUSTER)?.ok_or_else(|| bad("it names no cluster"))?;
    let user = UserIdentity {
        name: UserName::new(raw.key_id).map_err(bad)?,
        bot: bot(raw)?,
        roles: roles(raw)?,
        traits: traits(raw)?,
        logins: logins(&raw.principals)?,
        permits: Permits {
            pty: flag(raw, PTY)?,
            port_forwarding: flag(raw, PORT_FORWARDING)?,
            agent_forwarding: flag(raw, AGENT_FORWARDING)?,
            x11_forwarding: flag(raw, X11_FORWARDING)?,
        },
        impersonator: parsed(raw, IMPERSONATOR)?,
        renewable: flag(raw, RENEWABLE)?,
        disallow_reissue: flag(raw, DISALLOW_REISSUE)?,
        login_ip: parsed(raw, LOGIN_IP)?,
        pinned_ip: pinned(raw, peer)?,
    };
    let cluster = ClusterName::new(cluster).map_err(bad)?;
    Ok(Identity { cluster, subject: Subject::User(Box::new(user)) })
}

fn roles(raw: &RawCertificate<'_>) -> Result<Vec<RoleName>, Refusal> {
    let text = extension(raw, ROLES)?.ok_or_else(|| bad("it names no roles"))?;
    let list: RoleList = serde_json::from_str(text).map_err(|_| bad("its list of roles cannot be read"))?;
    match list.version.as_str() {
        "v1" => Ok(list.roles),
        _ => Err(bad("its list of roles is of an unknown version")),
    }
}

fn traits(raw: &RawCertificate<'_>) -> Result<Traits, Refusal> {
    match extension(raw, TRAITS)? {
        None => Ok(Traits::default()),
        Some(text) => serde_json::from_str(text).map_err(|_| bad("its traits cannot be read")),
    }
}

fn bot(raw: &RawCertificate<'_>) -> Result<Option<BotIdentity>, Refusal> {
    let generation = parsed(raw, GENERATION)?;
    let join_token = parsed(raw, JOIN_TOKEN)?;
    match (parsed::<BotName>(raw, BOT_NAME)?, parsed(raw, BOT_INSTANCE)?) {
        (Some(name), Some(instance)) => Ok(Some(BotIdentity { name, instance, generation, join_token })),
        (None, None) if generation.is_none() && join_token.is_none() => Ok(None),
        _ => Err(bad("it names half a bot")),
    }
}

/// Every principal is a plain name; the one that stands for nobody stands alone and is no login.
fn logins(principals: &[&str]) -> Result<Vec<Login>, Refusal> {
    match principals {
        [] => Err(Refusal::NoPrincipals),
        [only] if only.strip_prefix(NOBODY).is_some_and(|rest| rest.parse::<Uuid>().is_ok()) => {
            Ok(Vec::new())
        }
        all => all.iter().map(|name| login(name)).collect(),
    }
}

fn login(name: &str) -> Result<Login, Refusal> {
    let refuse = || Refusal::BadPrincipal(crate::ssh::certificate::shortened(name));
    match crate::names::is_login(name) {
        true => Login::new(name).map_err(|_| refuse()),
        false => Err(refuse()),
    }
}

/// The one address of `source-address`; of a wider list, the address in it that the certificate is used from,
/// so that whatever is derived from it is never wider.
fn pinned(raw: &RawCertificate<'_>, peer: Option<IpAddr>) -> Result<Option<IpAddr>, Refusal> {
    let Some((_, value)) = raw.critical_options.iter().find(|(name, _)| *name == SOURCE_ADDRESS) else {
        return Ok(None);
    };
    let list = option_value(value, SOURCE_ADDRESS).map_err(|_| Refusal::BadSourceAddress)?;
    let networks = source_address::parse(list)?;
    match (networks.as_slice(), peer) {
        ([only], _) if only.is_single() => Ok(Some(only.address())),
        (_, Some(peer)) => Ok(Some(source_address::canonical(peer))),
        _ => Err(Refusal::WrongSourceAddress { peer: None }),
    }
}

fn flag(raw: &RawCertificate<'_>, name: &'static str) -> Result<bool, Refusal> {
    match extension(raw, name)? {
        None => Ok(false),
        Some("") => Ok(true),
        Some(_) => Err(bad(format!("its flag {name} has a value"))),
    }
}

fn parsed<T: FromStr>(raw: &RawCertificate<'_>, name: &'static str) -> Result<Option<T>, Refusal> {
    let text = extension(raw, name)?;
    text.map(|text| text.parse().map_err(|_| bad(format!("its {name} cannot be read")))).transpose()
}
