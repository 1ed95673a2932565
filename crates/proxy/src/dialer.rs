//! From a name to a connection: authorise, route, dial.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::address::Reach;
use access::rbac::ssh::{KeyExchange, SessionDefaults};
use access::rbac::{Denial, RoleSet, lock, ssh};
use access::resource::cluster::LockingMode;
use access::{ClusterName, HostId, HostPort, Login};
use agent::HostAgent;
use identity::policy::Policy;
use jiff::Timestamp;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use transport::hello::Rewind;
use transport::listen;

use crate::caller::Caller;
use crate::denied::Denied;
use crate::gate::{Gate, OnMisled};
use crate::host_key::{HostKeys, Judge};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::routing::{Entry, NoRoute, Rules, Target};
use crate::ssh_bytes::SshBytes;
use crate::ssh_transport::denial;

/// No cluster setting makes a caller wait longer for a node.
const LONGEST_DIAL: Duration = Duration::from_secs(40);
/// How old the view of locks may be where locks are strict.
pub(crate) const STALE: Duration = Duration::from_secs(300);

/// How long a caller may take for the last words of a connection that led to another server than the node.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Reaches nodes on behalf of callers.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) agent: Arc<HostAgent>,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Metrics,
    pub(crate) keys: HostKeys,
}

/// What a caller asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) host: String,
    pub(crate) port: u32,
    pub(crate) cluster: String,
    /// When the caller said so; locks may hit it.
    pub(crate) login: Option<Login>,
}

/// A connection to a node's SSH port.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) node: Arc<Entry>,
    pub(crate) stream: Gate<SshBytes<Rewind<TcpStream>>>,
    pub(crate) misled: WhenMisled,
}

/// Hears that another server than the node stood at its address.
#[derive(Debug)]
pub(crate) struct WhenMisled(oneshot::Receiver<()>);

impl WhenMisled {
    /// Resolves when it did, and the caller has had time to be told. Never otherwise.
    pub(crate) async fn told(self) {
        match self.0.await {
            Ok(()) => sleep(LAST_WORDS).await,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Dialled {
    pub(crate) fn id(&self) -> HostId {
        self.node.node().id
    }
}

impl Dialer {
    /// Connects the caller to the node it wants, if it may see it.
    pub(crate) async fn dial(&self, caller: &Caller, wanted: &Wanted) -> Result<Dialled, Denied> {
        let dialled = self.try_dial(caller, wanted).await;
        match &dialled {
            Ok(_) => self.metrics.connected(),
            Err(denied) => self.metrics.dial(denied.code),
        }
        dialled
    }

    async fn try_dial(&self, caller: &Caller, wanted: &Wanted) -> Result<Dialled, Denied> {
        let policy = self.agent.policy().current();
        let view = View { policy: &policy, silence: self.agent.silence(), cluster: self.agent.cluster() };
        let node = route(&view, &self.nodes, caller, wanted, Timestamp::now())?;
        let within = policy.networking.ssh_dial_timeout.limit().unwrap_or(LONGEST_DIAL).min(LONGEST_DIAL);
        let (stream, address) = match timeout(within, connect(&node)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(unreachable(&node, &format!("no answer within {within:?}"))),
        };
        let (credentials, keys) = (self.agent.credentials().clone(), self.keys.clone());
        let judge = Judge { node: Arc::clone(&node), address, credentials, keys };
        let (tell, told) = oneshot::channel();
        let stream = Gate::new(stream, judge, self.on_misled(caller, wanted, &node, tell));
        Ok(Dialled { node, stream, misled: WhenMisled(told) })
    }

    /// What is done when another server stands at the node's address.
    fn on_misled(
        &self,
        caller: &Caller,
        wanted: &Wanted,
        node: &Arc<Entry>,
        tell: oneshot::Sender<()>,
    ) -> OnMisled {
        let (agent, metrics) = (Arc::clone(&self.agent), self.metrics.clone());
        let (caller, wanted, node) = (caller.clone(), wanted.clone(), Arc::clone(node));
        Box::new(move |misled| {
            let (id, addr) = (node.node().id, &node.node().spec.addr);
            let (code, server) = (misled.denied.code, &misled.server);
            tracing::warn!(node = %id, %addr, code, server, "another server than the node stands at its address");
            let event = denial(&caller, &wanted, &misled.denied);
            agent.audit().emit(event.with("node_id", id.to_string()).with("server_shown", server.clone()));
            metrics.cut(code);
            let _ = tell.send(());
        })
    }
}

/// What is decided by.
pub(crate) struct View<'a> {
    pub(crate) policy: &'a Policy,
    /// How long ago auth was heard.
    pub(crate) silence: Duration,
    pub(crate) cluster: &'a ClusterName,
}

impl View<'_> {
    /// Whether the caller is still who it was: certificate, locks, the age of our knowledge.
    pub(crate) fn standing(
        &self,
        caller: &Caller,
        login: Option<&Login>,
        node: Option<HostId>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let strict = self.policy.auth_preference.locking_mode == LockingMode::Strict;
        if strict && self.silence > STALE {
            return Err(Denial::locks_stale().into());
        }
        match lock::in_force(&self.policy.locks, &caller.lock_subject(login, node), now) {
            Some(lock) => Err(Denial::from(lock).into()),
            None => Ok(()),
        }
    }
}

/// The node that the caller means, if it may see it. What is not there and what is hidden are answered alike, and a
/// lock on a node shows to those only who can see the node.
pub(crate) fn route(
    view: &View<'_>,
    nodes: &Nodes,
    caller: &Caller,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Arc<Entry>, Denied> {
    if caller.valid_before() <= now {
        let reason = format!("your certificate expired at {}", caller.valid_before());
        return Err(Denied::new("certificate_expired", reason, "get a new one"));
    }
    view.standing(caller, wanted.login.as_ref(), None, now)?;
    let user = caller.user();
    let find = |name: &access::RoleName| view.policy.roles.iter().find(|role| role.name == *name);
    let roles = RoleSet::resolve(&user.name, &user.roles, &user.traits, find).map_err(Denial::from)?;
    admit_connection(&roles, caller, view.policy)?;
    let rules = Rules {
        cluster: view.cluster,
        strategy: view.policy.networking.routing_strategy,
        case_insensitive: view.policy.networking.case_insensitive_routing,
    };
    let target = Target { host: &wanted.host, port: wanted.port, cluster: &wanted.cluster };
    let found = nodes
        .read(|directory| directory.resolve(&target, &rules, |entry| ssh::visible(&roles, entry.labels())));
    let node = found.ok_or_else(Denied::nodes_unknown)?.map_err(|no_route| match no_route {
        NoRoute::Unknown => Denied::host_unknown(&wanted.host),
        NoRoute::Ambiguous => Denied::host_ambiguous(&wanted.host),
    })?;
    view.standing(caller, wanted.login.as_ref(), Some(node.node().id), now)?;
    Ok(node)
}

/// A jump is a connection of its own with a key exchange of its own. What comes by TLS carries SSH from end to end, and
/// the node judges that.
fn admit_connection(roles: &RoleSet, caller: &Caller, policy: &Policy) -> Result<(), Denied> {
    let exchange = match caller.negotiated() {
        Some(negotiated) if !negotiated.is_post_quantum() => negotiated.key_exchange,
        _ => return Ok(()),
    };
    let defaults = SessionDefaults::new(&policy.auth_preference, &policy.networking);
    Ok(ssh::check_key_exchange(roles, KeyExchange::Classical(exchange.name()), defaults)?)
}

/// TCP, and the first bytes of an SSH server; and where that is.
async fn connect(node: &Entry) -> Result<(SshBytes<Rewind<TcpStream>>, SocketAddr), Denied> {
    let Some(addr) = node.addr() else {
        return Err(unreachable(node, "it reported no address"));
    };
    // The address itself is the cluster's business, not the caller's.
    let (stream, address) = reach(addr).await.map_err(|error| {
        tracing::info!(node = %node.node().id, %addr, %error, "a node cannot be reached");
        unreachable(node, &in_words(&error))
    })?;
    listen::prepare(&stream);
    match Rewind::starting_with(stream, b"SSH-").await {
        Ok(stream) => Ok((SshBytes::new(stream), address)),
        Err(error) if error.kind() != ErrorKind::InvalidData => {
            tracing::info!(node = %node.node().id, %addr, %error, "a node says nothing");
            Err(unreachable(
                node,
                "it closed the connection at once, as one does that is stopping or out of descriptors",
            ))
        }
        Err(error) => {
            tracing::info!(node = %node.node().id, %addr, %error, "a node does not speak SSH");
            let reason = format!("node {:?} does not speak SSH at its address", node.node().spec.hostname);
            Err(Denied::new("node_not_ssh", reason, "its administrator should check its address and its log"))
        }
    }
}

/// Connects to the first of an address' addresses that answers and that may be a node's.
async fn reach(addr: &HostPort) -> io::Result<(TcpStream, SocketAddr)> {
    let mut failed = io::Error::from(ErrorKind::NotFound);
    for address in lookup_host((addr.host(), addr.port())).await? {
        if !may_be_dialled(addr, address) {
            let reason = format!("{addr} leads to {}, which is no address of a node", address.ip());
            failed = io::Error::new(ErrorKind::AddrNotAvailable, reason);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Whether an address that was resolved may be a node's. To this very machine it goes only where the node says so: such an address
/// auth takes from a machine of its own, and a name that somebody else resolves to it is none.
fn may_be_dialled(addr: &HostPort, address: SocketAddr) -> bool {
    match Reach::of(address.ip()) {
        Reach::Far => true,
        Reach::Own => addr.host() == "localhost" || addr.host().parse() == Ok(address.ip()),
        Reach::Nowhere => false,
    }
}

/// Why there is no connection. What the system says has a number; that a name leads nowhere has none, and no kind either.
fn in_words(error: &std::io::Error) -> String {
    let is_systems = error.raw_os_error().is_some();
    match error.kind() {
        ErrorKind::NotFound if !is_systems => "its name has no address".to_owned(),
        kind if is_systems || kind == ErrorKind::AddrNotAvailable => kind.to_string(),
        _ => "its name cannot be resolved by the proxy".to_owned(),
    }
}

fn unreachable(node: &Entry, why: &str) -> Denied {
    let reason = format!("node {:?} does not answer: {why}", node.node().spec.hostname);
    Denied::new("node_unreachable", reason, "check that the node is up and that its SSH service runs")
}

#[cfg(test)]
mod tests;
