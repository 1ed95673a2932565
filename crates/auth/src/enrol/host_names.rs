//! Which names a host's certificate carries, and whose a name is.
//!
//! A name belongs to one node while that node is online or until its certificate ends, so that a token for a new node,
//! or a stolen node, is no way to stand in for another one. Proxies share names among each other. A proxy never gets a
//! node's name: it sits between people and nodes, and must not be able to pass for one. The services of one machine
//! that share their id share their names as well.
//!
//! What a bot gets certificates for, an SSH server that it looks after, is a node to all of this. Nobody sees whether it is
//! online, so its names pass to nobody but another instance of the same bot until its certificate ends.

use crate::catalog::record::Damaged;
use crate::catalog::{Catalog, layout};
use access::address::{Reach, is_number};
use access::{BotName, ClusterName, HostId, SystemRole};
use api::status::Problem;
use identity::trust::AUTH_SERVER_NAME;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use store::Entry;

/// The most further names and addresses of one host.
const MOST: usize = 32;
/// The most names that one host has at a time: those of its certificates that have not ended. It is room for each name of one
/// certificate to be another in the next.
pub const MOST_HELD: usize = 96;
/// Of every machine, so nobody's.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What a host asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Its id.
    pub id: HostId,
    /// What it does.
    pub role: SystemRole,
    /// Its name.
    pub hostname: &'a str,
    /// Further names and addresses.
    pub principals: &'a [String],
}

/// Why a host does not get its names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    /// Not a DNS name or an address.
    #[error(
        "{0:?} is not a host name; use letters, digits, dots and hyphens, not a number at the end, or an address of one host"
    )]
    Malformed(String),
    /// More than can be checked.
    #[error("{0} names and addresses are too many; at most {MOST} are allowed")]
    TooMany(usize),
    /// More than one host may have.
    #[error(
        "it would have {0} names; a host has at most {MOST_HELD} at a time, those of all its certificates that have not ended; \
         ask for fewer names, or wait until those of earlier certificates are free again"
    )]
    TooManyHeld(usize),
    /// A name of the system, of the cluster or of another host's id.
    #[error("the host name {0:?} is reserved; choose another nodename or public_addr")]
    Reserved(String),
    /// Another host has it.
    #[error(
        "the host name {name:?} belongs to {role} {owner}; choose another nodename, or remove that one with tctl rm node/{owner}",
        role = .role.as_str().to_ascii_lowercase()
    )]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        owner: HostId,
        /// What the owner does.
        role: SystemRole,
    },
}

impl NameRefusal {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::TooMany(_) => "host_name_invalid",
            Self::TooManyHeld(_) => "host_names_too_many",
            Self::Reserved(_) => "host_name_reserved",
            Self::Taken { .. } => "host_name_taken",
        }
    }
}

/// The names for the certificate of a host, without the two that follow from its id, each once.
pub fn names(wish: &Wish<'_>, cluster: &ClusterName) -> Result<Vec<String>, NameRefusal> {
    if wish.principals.len() > MOST {
        return Err(NameRefusal::TooMany(wish.principals.len()));
    }
    let mut wanted = Vec::new();
    if wish.role == SystemRole::Node || wish.principals.is_empty() {
        let hostname = wish.hostname.to_ascii_lowercase();
        wanted.push(format!("{hostname}.{cluster}"));
        wanted.push(hostname);
    }
    wanted.extend(wish.principals.iter().map(|name| name.to_ascii_lowercase()));
    if wish.role == SystemRole::Proxy {
        wanted.extend(LOOPBACK.map(str::to_owned));
    }
    checked(wanted, wish.id, wish.role, cluster)
}

/// The names for the certificate of an SSH server that a bot looks after: those that are asked for, and no others.
pub fn of_ssh_server(
    id: HostId,
    principals: &[String],
    cluster: &ClusterName,
) -> Result<Vec<String>, NameRefusal> {
    if principals.len() > MOST {
        return Err(NameRefusal::TooMany(principals.len()));
    }
    let wanted = principals.iter().map(|name| name.to_ascii_lowercase()).collect();
    checked(wanted, id, SystemRole::Node, cluster)
}

fn checked(
    wanted: Vec<String>,
    id: HostId,
    role: SystemRole,
    cluster: &ClusterName,
) -> Result<Vec<String>, NameRefusal> {
    let own = [id.to_string(), format!("{id}.{cluster}")];
    let mut names: Vec<String> = Vec::new();
    for name in wanted {
        let name = canonical(&name)?;
        if own.contains(&name) || names.contains(&name) {
            continue;
        }
        if is_reserved(&name, role, cluster) {
            return Err(NameRefusal::Reserved(name));
        }
        names.push(name);
    }
    Ok(names)
}

/// The names and addresses that belong to one host at a time; those of every machine belong to nobody.
pub fn owned(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| !LOOPBACK.contains(&name.as_str()))
}

fn canonical(name: &str) -> Result<String, NameRefusal> {
    let malformed = || NameRefusal::Malformed(name.chars().take(80).collect());
    if let Ok(address) = name.parse::<IpAddr>() {
        return match Reach::of(address) {
            Reach::Far | Reach::Own => Ok(address.to_canonical().to_string()),
            Reach::Nowhere => Err(malformed()),
        };
    }
    if is_number(name) {
        return Err(malformed());
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let plain = name.len() <= 253 && starts && name.chars().all(legal);
    match plain && !name.ends_with('.') && !name.contains("..") {
        true => Ok(name.to_owned()),
        false => Err(malformed()),
    }
}

fn is_reserved(name: &str, role: SystemRole, cluster: &ClusterName) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    let internal = AUTH_SERVER_NAME.split_once('.').map_or(AUTH_SERVER_NAME, |(_, domain)| domain);
    first.parse::<uuid::Uuid>().is_ok()
        || name == internal
        || name.strip_suffix(internal).is_some_and(|rest| rest.ends_with('.'))
        // A proxy may well be called as the cluster is.
        || (role == SystemRole::Node && name == cluster.as_str())
}

/// Who has a name, among the hosts of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The host.
    pub id: HostId,
    /// What it does.
    pub role: SystemRole,
    /// From where it was enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The bot that looks after it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot: Option<BotName>,
}

/// On what grounds a host asks for a name that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grounds {
    /// It has the name in its present certificate.
    pub has_it: bool,
    /// A token vouches for it.
    pub joins: bool,
    /// The one who has the name is connected now.
    pub owner_online: bool,
}

impl Owner {
    /// From the store.
    pub fn read(entry: &Entry) -> Result<Self, Damaged> {
        serde_json::from_slice(&entry.value)
            .map_err(|error| Damaged { key: entry.key.clone(), reason: error.to_string() })
    }

    /// Whether `other` may have the name as well, or instead.
    pub fn gives_way_to(&self, other: &Owner, grounds: Grounds) -> bool {
        use SystemRole::{Node, Proxy};
        let Grounds { has_it, joins, owner_online } = grounds;
        self.id == other.id
            || match (self.role, other.role) {
                (Proxy, Proxy) => true,
                (Node, Node) if self.bot.is_some() => !owner_online && self.bot == other.bot,
                (Node, Node) => !owner_online && (has_it || joins),
                // An address is no proof of being one machine: many come from one.
                (Proxy, Node) | (Node, Proxy) => has_it,
                _ => false,
            }
    }
}

/// Every record that says that a name is this host's, whatever else is known of the host. Reads all names.
pub async fn records_of(catalog: &Catalog, id: HostId) -> Result<Vec<Entry>, Problem> {
    let mut records = Vec::new();
    for entry in catalog.all(layout::host_names()).await? {
        if Owner::read(&entry)?.id == id {
            records.push(entry);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::{Grounds, NameRefusal, Owner, Wish, names, owned};
    use access::{ClusterName, HostId, SystemRole};

    const ID: &str = "b5a2e6b4-55f3-4d1f-9a4f-3c6f4f1e2d3c";
    const OTHER: &str = "00000000-55f3-4d1f-9a4f-3c6f4f1e2d3c";

    fn id(text: &str) -> HostId {
        HostId(text.parse().expect("an id"))
    }

    fn asked(role: SystemRole, hostname: &str, principals: &[&str]) -> Result<Vec<String>, NameRefusal> {
        let principals: Vec<String> = principals.iter().map(|name| (*name).to_owned()).collect();
        let cluster = ClusterName::new("example.com").expect("a name");
        names(&Wish { id: id(ID), role, hostname, principals: &principals }, &cluster)
    }

    #[test]
    fn a_node_is_called_by_its_name_and_a_proxy_by_its_addresses() {
        assert_eq!(
            asked(SystemRole::Node, "Web-1", &["10.0.0.1", "web-1", "2001:DB8::1"]),
            Ok(["web-1.example.com", "web-1", "10.0.0.1", "2001:db8::1"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            asked(SystemRole::Proxy, "edge", &["example.com"]),
            Ok(["example.com", "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec())
        );
        assert!(asked(SystemRole::Proxy, "edge", &[]).is_ok_and(|names| names.contains(&"edge".to_owned())));
        let own = asked(SystemRole::Node, ID, &[]).expect("its own id is no new name");
        assert_eq!(own, Vec::<String>::new());
    }

    #[test]
    fn names_of_the_system_and_of_others_are_refused() {
        for (role, hostname) in [
            (SystemRole::Node, "example.com"),
            (SystemRole::Node, "auth.postern.internal"),
            (SystemRole::Proxy, "x.postern.internal"),
            (SystemRole::Node, OTHER),
            (SystemRole::Node, "00000000-55f3-4d1f-9a4f-3c6f4f1e2d3c.elsewhere"),
        ] {
            let refused = asked(role, "fine", &[hostname]).expect_err(hostname);
            assert_eq!(refused.code(), "host_name_reserved", "{hostname}");
        }
        for address in [
            "0",
            "127.1",
            "10.77.1",
            "0x7f000001",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
        ] {
            let refused = asked(SystemRole::Node, "fine", &[address]).expect_err(address);
            assert_eq!(refused.code(), "host_name_invalid", "{address}");
        }
        let mapped = asked(SystemRole::Node, "fine", &["::ffff:10.0.0.1", "10.0.0.1"]).expect("an address");
        assert_eq!(mapped[2..], ["10.0.0.1"], "one address is one name");
        for hostname in ["", "*", "a b", "-a", "a..b", "a.", "a,b", "é", "a\n", "$(x)", &"x".repeat(300)] {
            let refused = asked(SystemRole::Node, hostname, &[]).expect_err(hostname);
            assert_eq!(refused.code(), "host_name_invalid", "{hostname}");
        }
        assert!(matches!(asked(SystemRole::Node, "a", &["x"; 33]), Err(NameRefusal::TooMany(33))));
    }

    #[test]
    fn loopback_belongs_to_nobody_and_addresses_do() {
        let names = ["localhost", "127.0.0.1", "::1", "10.0.0.1", "web-1"].map(str::to_owned);
        assert_eq!(owned(&names).collect::<Vec<_>>(), ["10.0.0.1", "web-1"]);
    }

    #[test]
    fn a_name_changes_hands_only_when_its_owner_is_gone() {
        let owner =
            |who: &str, role, from: &str| Owner { id: id(who), role, from: from.parse().ok(), bot: None };
        let grounds = |has_it, joins, owner_online| Grounds { has_it, joins, owner_online };
        use SystemRole::{Node, Proxy};
        let node = owner(ID, Node, "10.0.0.1");
        let (other, here) = (owner(OTHER, Node, "10.0.0.2"), owner(OTHER, Node, "10.0.0.1"));
        let table = [
            (&node, owner(ID, Node, "10.0.0.2"), grounds(false, false, true), true),
            (&node, other.clone(), grounds(true, true, true), false),
            (&node, other.clone(), grounds(false, true, false), true),
            (&node, other.clone(), grounds(true, false, false), true),
            (&node, other.clone(), grounds(false, false, false), false),
            (&node, here.clone(), grounds(false, true, true), false),
        ];
        for (present, other, grounds, expected) in table {
            assert_eq!(present.gives_way_to(&other, grounds), expected, "{other:?} {grounds:?}");
        }
        let (proxy, far, near) =
            (owner(ID, Proxy, "10.0.0.1"), owner(OTHER, Proxy, "10.0.0.2"), owner(OTHER, Proxy, "10.0.0.1"));
        assert!(proxy.gives_way_to(&far, grounds(false, false, true)), "proxies share");
        assert!(
            !proxy.gives_way_to(&here, grounds(false, true, true)),
            "an address is no proof of one machine"
        );
        assert!(!proxy.gives_way_to(&other, grounds(false, true, false)), "not another one");
        for grounds in [grounds(false, true, false), grounds(false, false, false), grounds(false, true, true)]
        {
            assert!(!node.gives_way_to(&near, grounds), "a proxy never gets a node's name");
        }
        assert!(node.gives_way_to(&near, grounds(true, false, true)), "it keeps what it had");
        assert!(node.gives_way_to(&owner(ID, Proxy, ""), grounds(false, true, true)), "it is the same host");
        let kept = |who, bot: &str| Owner { bot: bot.parse().ok(), ..owner(who, Node, "10.0.0.1") };
        for (present, other, grounds, expected) in [
            (&kept(ID, "a"), kept(OTHER, "a"), grounds(false, false, false), true),
            (&kept(ID, "a"), kept(OTHER, "a"), grounds(false, false, true), false),
            (&kept(ID, "a"), kept(OTHER, "b"), grounds(false, false, false), false),
            (&kept(ID, "a"), node.clone(), grounds(true, true, false), true),
            (&kept(OTHER, "a"), node.clone(), grounds(true, true, false), false),
            (&node, kept(OTHER, "a"), grounds(false, false, false), false),
        ] {
            assert_eq!(present.gives_way_to(&other, grounds), expected, "{present:?} to {other:?}");
        }
    }

    #[test]
    fn an_ssh_server_is_called_as_was_asked_for_and_not_otherwise() {
        let cluster = ClusterName::new("example.com").expect("a name");
        let asked = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            super::of_ssh_server(id(ID), &names, &cluster)
        };
        assert_eq!(asked(&["Web.Example.com", "web.example.com"]), Ok(vec!["web.example.com".to_owned()]));
        for wrong in ["*", "*.example.com", "example.com", "auth.postern.internal", OTHER, ""] {
            assert!(asked(&[wrong]).is_err(), "{wrong}");
        }
        assert!(asked(&["a"; 33]).is_err());
    }
}
