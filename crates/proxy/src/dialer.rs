//! From a name to a connection: authorise, route, dial.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use access::rbac::ssh::{KeyExchange, SessionDefaults};
use access::rbac::{Denial, RoleSet, lock, ssh};
use access::resource::cluster::LockingMode;
use access::{ClusterName, HostId, Login};
use agent::HostAgent;
use identity::policy::Policy;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::hello::Rewind;
use transport::listen;

use crate::caller::Caller;
use crate::denied::Denied;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::routing::{Entry, NoRoute, Rules, Target};
use crate::ssh_bytes::SshBytes;

/// No cluster setting makes a caller wait longer for a node.
const LONGEST_DIAL: Duration = Duration::from_secs(40);
/// How old the view of locks may be where locks are strict.
pub(crate) const STALE: Duration = Duration::from_secs(300);

/// Reaches nodes on behalf of callers.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) agent: Arc<HostAgent>,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Metrics,
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
    pub(crate) stream: SshBytes<Rewind<TcpStream>>,
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
        let stream = match timeout(within, connect(&node)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(unreachable(&node, &format!("no answer within {within:?}"))),
        };
        Ok(Dialled { node, stream })
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

/// TCP, and the first bytes of an SSH server.
async fn connect(node: &Entry) -> Result<SshBytes<Rewind<TcpStream>>, Denied> {
    let Some(addr) = node.addr() else {
        return Err(unreachable(node, "it reported no address"));
    };
    let stream = TcpStream::connect((addr.host(), addr.port())).await;
    // The address itself is the cluster's business, not the caller's.
    let stream = stream.map_err(|error| {
        tracing::info!(node = %node.node().id, %addr, %error, "a node cannot be reached");
        unreachable(node, &in_words(&error))
    })?;
    listen::prepare(&stream);
    match Rewind::starting_with(stream, b"SSH-").await {
        Ok(stream) => Ok(SshBytes::new(stream)),
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
