//! What hosts say of themselves, checked, and written down when it has changed.

use super::Connected;
use crate::catalog::{layout, record};
use crate::core::Core;
use crate::presence::Presence;
use crate::refusal;
use access::address::{Reach, is_number};
use access::resource::{Kind, Node, Resource};
use access::{HostPort, SystemRole};
use api::status::{Class, Problem};
use api::v1::agent_message::Message;
use api::v1::{NodeReport, ProxyReport};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use store::{Expect, Revision, Txn};

/// How often a record is written again after somebody else wrote it at the same moment.
const TRIES: usize = 4;
/// The most public addresses of a proxy.
const MOST_ADDRS: usize = 32;

/// Labels that the cluster gives, so that roles may rely on them.
const RESERVED: [&str; 3] = ["teleport.internal/", "teleport.dev/", "postern.internal/"];

/// What a host says of itself, as it may be said by this host.
#[derive(Debug)]
pub(super) enum Report {
    /// A node.
    Node(Box<Node>),
    /// The `host:port`s at which a proxy is reached.
    Proxy(Vec<String>),
    /// A stock server that nobody is to see.
    Unlisted,
}

/// Reads a report; `None` when the message is something else.
pub(super) fn read(
    presence: &Presence,
    connected: &Connected,
    message: &Message,
) -> Result<Option<Report>, Problem> {
    match (message, connected.host.role) {
        (Message::Node(report), SystemRole::Node) => {
            let places = Places::of(presence, connected);
            node(connected, &places, report).map(|node| Some(Report::Node(Box::new(node))))
        }
        (Message::Proxy(report), SystemRole::Proxy) => proxy(report).map(|addrs| Some(Report::Proxy(addrs))),
        (Message::Unlisted(_), _) if connected.keeper.is_some() => Ok(Some(Report::Unlisted)),
        (Message::Node(_) | Message::Proxy(_) | Message::Unlisted(_), role) => {
            let reason = format!("the certificate of a {role} cannot report for a host of another role");
            Err(Problem::new(Class::Denied, "wrong_role", reason))
        }
        (Message::PolicyApplied(_) | Message::Pong(_), _) => Ok(None),
    }
}

fn node(connected: &Connected, places: &Places<'_>, report: &NodeReport) -> Result<Node, Problem> {
    let NodeReport { hostname, addr, public_addrs, labels, command_labels, version } = report;
    let host = &connected.host;
    let own = hostname.eq_ignore_ascii_case(&host.id.to_string());
    if !own && !host.names.iter().any(|name| name.eq_ignore_ascii_case(hostname)) {
        let shown: String = hostname.chars().take(80).collect();
        let reason = format!("the host name {shown:?} is not in the certificate of node {}", host.id);
        return Err(Problem::new(Class::Denied, "host_name_not_own", reason)
            .hint("restart the node, so that it asks for a certificate with its name"));
    }
    let reserved = |label: &&String| RESERVED.iter().any(|prefix| label.starts_with(prefix));
    if let Some(label) = labels.keys().chain(command_labels.keys()).find(reserved) {
        let shown: String = label.chars().take(80).collect();
        let reason = format!("the label {shown:?} is reserved; node {} cannot give it to itself", host.id);
        return Err(Problem::new(Class::Denied, "label_reserved", reason).hint("choose another label"));
    }
    let addr = places.dialled(addr)?;
    for public in public_addrs {
        let host_of = HostPort::parse(public, 0).map_err(|wrong| refusal::invalid(wrong.to_string()))?;
        places.own(&host_of, public)?;
    }
    let json = json!({
        "kind": "node", "version": Kind::Node.version(),
        "metadata": {"name": host.id.to_string(), "labels": labels},
        "spec": {
            "hostname": hostname, "addr": addr, "public_addrs": public_addrs,
            "cmd_labels": command_labels, "version": version,
        },
    });
    match Resource::from_json(json) {
        Ok(Resource::Node(node)) => Ok(node),
        Ok(other) => Err(refusal::internal("a report became something else", other.kind())),
        Err(wrong) => Err(refusal::invalid(format!("the report of node {}: {wrong}", host.id))),
    }
}

/// Where a node may be: at the names and addresses of its certificate, or where it comes from, and nowhere else. It could stand
/// in for another host otherwise, or lead proxies to one. (Proxies look for themselves at who answers there.)
struct Places<'a> {
    connected: &'a Connected,
    /// Where it comes from, unless a proxy is there: then that address may be anybody's behind the proxy.
    from: Option<IpAddr>,
    /// It comes from auth's own machine, or through a proxy on it, which cannot be told apart.
    near: bool,
}

impl<'a> Places<'a> {
    fn of(presence: &Presence, connected: &'a Connected) -> Self {
        let from = connected.from.map(|from| from.to_canonical());
        let near = from.is_some_and(|from| from.is_loopback());
        let from = from.filter(|from| !near && !presence.is_proxy(*from));
        Self { connected, from, near }
    }

    /// Where proxies dial the node. One that listens everywhere is found where it comes from.
    fn dialled(&self, addr: &str) -> Result<String, Problem> {
        if addr.is_empty() {
            return Ok(String::new());
        }
        let told = HostPort::parse(addr, 0).map_err(|wrong| refusal::invalid(wrong.to_string()))?;
        let everywhere = told.host().parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified());
        let from = self.from.or(self.connected.from.filter(|_| self.near));
        match (everywhere, from) {
            (false, _) => self.own(&told, addr),
            (true, Some(from)) => Ok(SocketAddr::new(from.to_canonical(), told.port()).to_string()),
            (true, None) => Err(refusal::invalid(
                "the node listens on every address, and which one it is reached at is not known",
            )
            .hint("set ssh_service.public_addr")),
        }
    }

    /// Whether this place is its own; and how it is written.
    fn own(&self, told: &HostPort, text: &str) -> Result<String, Problem> {
        let host = told.host();
        let named = |host: &str| self.connected.host.names.iter().any(|name| name.eq_ignore_ascii_case(host));
        let shown = || text.chars().take(80).collect::<String>();
        let Ok(ip) = host.parse::<IpAddr>().map(|ip| ip.to_canonical()) else {
            let own = match is_local(host) {
                true => self.near,
                false => named(host) && !is_number(host),
            };
            return if own { Ok(told.to_string()) } else { Err(self.not_own(&shown())) };
        };
        match Reach::of(ip) {
            Reach::Far if named(host) || named(&ip.to_string()) || self.from == Some(ip) => {}
            Reach::Own if self.near => {}
            Reach::Far | Reach::Own => return Err(self.not_own(&shown())),
            Reach::Nowhere => {
                let reason = format!("the address {:?} is none that leads to one host", shown());
                return Err(Problem::new(Class::Denied, "host_addr_not_own", reason)
                    .hint("set ssh_service.public_addr to an address at which proxies reach the node"));
            }
        }
        Ok(SocketAddr::new(ip, told.port()).to_string())
    }

    fn not_own(&self, shown: &str) -> Problem {
        let reason =
            format!("the address {shown:?} is not in the certificate of node {}", self.connected.host.id);
        Problem::new(Class::Denied, "host_addr_not_own", reason)
            .hint("restart the node, so that it asks for a certificate with its public_addr")
    }
}

/// A name of every machine.
fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn proxy(report: &ProxyReport) -> Result<Vec<String>, Problem> {
    let addrs = &report.public_addrs;
    if addrs.len() > MOST_ADDRS {
        return Err(refusal::invalid(format!("{} public addresses are too many", addrs.len())));
    }
    let read = |addr: &String| HostPort::parse(addr, 0).ok().filter(|addr| addr.port() != 0);
    let wrong = |addr: &String| {
        let shown: String = addr.chars().take(80).collect();
        refusal::invalid(format!("{shown:?} is not host:port"))
    };
    addrs.iter().map(|addr| read(addr).map(|addr| addr.to_string()).ok_or_else(|| wrong(addr))).collect()
}

/// Writes the record of a node unless it says so already. Returns the node as it is stored.
pub(super) async fn keep(core: &Core, mut node: Node) -> Result<(Node, Revision), Problem> {
    let key = layout::node(node.id);
    for _ in 0..TRIES {
        let found = core.catalog.read(&key).await?;
        let expect = found.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        // What cannot be read is written over: the node is the only one who knows better.
        if let Some(entry) = &found
            && let Ok(Resource::Node(stored)) = record::decode(entry)
            && same(&stored, &node)
        {
            return Ok((stored, entry.revision));
        }
        node.spec.last_seen = Some(core.now());
        let resource = Resource::Node(node.clone());
        let txn = record::put(Txn::new().expect(key.clone(), expect), key.clone(), &resource);
        if let Ok(revision) = core.catalog.commit(txn).await? {
            return Ok((node, revision));
        }
    }
    Err(Problem::new(Class::Conflict, "too_many_changes", format!("the record of node {} changes", node.id))
        .hint("try again"))
}

/// Whether two records say the same of a node, apart from when it was seen.
fn same(stored: &Node, reported: &Node) -> bool {
    let mut reported = reported.clone();
    reported.spec.last_seen = stored.spec.last_seen;
    stored.spec == reported.spec && stored.metadata.labels == reported.metadata.labels
}
