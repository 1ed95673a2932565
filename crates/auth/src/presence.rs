//! Which hosts are there, by their streams. In memory only: what must outlive the process is in the nodes' records.
//!
//! The newest stream of a host is the host; one that it replaces counts for nothing any more (row P8 of the abuse
//! table). A node whose stream ended stays reachable for a moment, so that a restart is not seen by anybody.

mod checkpoint;
mod metrics;
mod routes;

pub use metrics::Metrics;
pub use routes::{Route, RouteChange, Routes};

use access::resource::Node;
use access::{HostId, SystemRole};
use routes::Table;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use store::Revision;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a node stays reachable after its stream ended.
    pub grace: Duration,
    /// The same after a start, for nodes that have not come back yet.
    pub start_grace: Duration,
    /// How often it is written down when nodes were last seen.
    pub checkpoint: Duration,
    /// How often it is looked whether a grace is over.
    pub sweep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(15),
            start_grace: Duration::from_secs(60),
            checkpoint: Duration::from_secs(180),
            sweep: Duration::from_secs(1),
        }
    }
}

/// See the module.
pub struct Presence {
    inner: Mutex<Inner>,
    pace: Pace,
    /// Ticks with each acknowledgement and each host that comes or goes.
    ticks: watch::Sender<u64>,
    /// Counts for operators.
    pub metrics: Metrics,
}

struct Inner {
    epoch: u64,
    hosts: HashMap<(HostId, SystemRole), Online>,
    routes: Table,
}

/// Streams of one host that replace each other faster than this are not of one host.
const HASTE: Duration = Duration::from_secs(300);

/// The stream that took a host over from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// Where it comes from.
    pub from: Option<IpAddr>,
    /// How often the host was taken over in haste: once is a host that was restarted or lost its way, more often are
    /// two hosts with one id.
    pub times: u32,
}

/// How a stream is ended from outside.
#[derive(Clone, Default)]
struct Cut {
    token: CancellationToken,
    by: Arc<OnceLock<Rival>>,
}

/// A host with a stream.
struct Online {
    epoch: u64,
    cut: Cut,
    since: Instant,
    /// See [`Rival::times`].
    taken: u32,
    from: Option<IpAddr>,
    applied: i64,
    public_addrs: Vec<String>,
}

impl Default for Presence {
    fn default() -> Self {
        Self::new(Pace::default())
    }
}

impl Presence {
    /// Of nobody.
    pub fn new(pace: Pace) -> Self {
        let inner = Inner { epoch: 0, hosts: HashMap::new(), routes: Table::default() };
        Self { inner: Mutex::new(inner), pace, ticks: watch::Sender::new(0), metrics: Metrics::default() }
    }

    /// Takes in the nodes on record after a start: they may be about to come back.
    pub fn expect_back(&self, known: Vec<(Node, Revision)>) {
        let until = Instant::now() + self.pace.start_grace;
        self.lock().routes.expect_back(known, until);
    }

    /// A stream of a host has begun. It replaces the one that there was.
    pub fn begin(self: &Arc<Self>, id: HostId, role: SystemRole, from: Option<IpAddr>) -> Ticket {
        let (cut, since) = (Cut::default(), Instant::now());
        let epoch = self.change(|inner| {
            inner.epoch += 1;
            let epoch = inner.epoch;
            let before = inner.hosts.remove(&(id, role));
            let hasty = before.as_ref().filter(|before| since.duration_since(before.since) < HASTE);
            let taken = hasty.map_or(0, |before| before.taken + 1);
            let (cut, public_addrs) = (cut.clone(), Vec::new());
            let online = Online { epoch, cut, since, taken, from, applied: 0, public_addrs };
            inner.hosts.insert((id, role), online);
            if let Some(before) = before {
                let _ = before.cut.by.set(Rival { from, times: taken });
                before.cut.token.cancel();
            }
            epoch
        });
        self.metrics.opened.inc();
        Ticket { presence: self.clone(), id, role, epoch, cut }
    }

    /// Whether a host has a stream, in any role.
    pub fn is_online(&self, id: HostId) -> bool {
        SystemRole::ALL.into_iter().any(|role| self.is_online_as(role, id))
    }

    /// Whether a host has a stream in a role.
    pub fn is_online_as(&self, role: SystemRole, id: HostId) -> bool {
        self.lock().hosts.contains_key(&(id, role))
    }

    /// How many hosts of a role have a stream.
    pub fn count(&self, role: SystemRole) -> usize {
        self.lock().hosts.keys().filter(|(_, of)| *of == role).count()
    }

    /// Whether a proxy with a stream calls from this address: then it may be anybody behind that proxy.
    pub fn is_proxy(&self, from: IpAddr) -> bool {
        let inner = self.lock();
        let mut proxies = inner.hosts.iter().filter(|((_, role), _)| *role == SystemRole::Proxy);
        proxies.any(|(_, proxy)| proxy.from == Some(from))
    }

    /// Ends the streams of a host, in every role.
    pub fn cut(&self, id: HostId) {
        let inner = self.lock();
        inner.hosts.iter().filter(|((host, _), _)| *host == id).for_each(|(_, host)| host.cut.token.cancel());
    }

    /// All nodes that have a stream and said what they are.
    pub fn nodes_online(&self) -> BTreeSet<HostId> {
        self.lock().routes.live().map(|route| route.node.id).collect()
    }

    /// Every host that has a stream, whether others may see it or not.
    pub fn online(&self) -> BTreeSet<HostId> {
        self.lock().hosts.keys().map(|(id, _)| *id).collect()
    }

    /// The `host:port`s of the proxies that have a stream, each once.
    pub fn proxy_addrs(&self) -> Vec<String> {
        let inner = self.lock();
        let addrs: BTreeSet<&String> = inner.hosts.values().flat_map(|host| &host.public_addrs).collect();
        addrs.into_iter().cloned().collect()
    }

    /// The hosts with a stream that have not said yet that a policy of this revision or a later one is in force.
    pub fn behind(&self, revision: i64) -> Vec<(HostId, SystemRole)> {
        let inner = self.lock();
        inner.hosts.iter().filter(|(_, host)| host.applied < revision).map(|(key, _)| *key).collect()
    }

    /// Tells when to ask [`Presence::behind`] again.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// The nodes that can be reached, those with a stream first, and then each change.
    pub fn routes(&self) -> Routes {
        self.lock().routes.subscribe()
    }

    /// Takes nodes away whose grace is over.
    pub fn sweep(&self, now: Instant) {
        self.lock().routes.sweep(now);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        let count = |role| inner.hosts.keys().filter(|(_, of)| *of == role).count();
        self.metrics.online(count(SystemRole::Node), count(SystemRole::Proxy));
        drop(inner);
        self.ticks.send_modify(|tick| *tick += 1);
        result
    }

    /// Whatever panicked while it held the lock left whole entries behind: each change is one insertion or removal.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's right to speak for its host. The host is gone when the newest one is dropped.
pub struct Ticket {
    presence: Arc<Presence>,
    id: HostId,
    role: SystemRole,
    epoch: u64,
    cut: Cut,
}

/// A newer stream of the same host is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a newer stream of this host is there")]
pub struct Superseded;

impl Ticket {
    /// Waits until a newer stream of the same host is there, which it returns, or somebody ends it.
    pub async fn cut(&self) -> Option<Rival> {
        self.cut.token.cancelled().await;
        self.rival()
    }

    /// The newer stream of the same host, if there is one.
    pub fn rival(&self) -> Option<Rival> {
        self.cut.by.get().copied()
    }

    /// The node says what it is; `revision` is that of its record.
    pub fn node(&self, node: Node, revision: Revision) -> Result<(), Superseded> {
        self.with(|inner| inner.routes.put(node, revision))
    }

    /// The host is there, and nobody is to find it any more.
    pub fn unlisted(&self) -> Result<(), Superseded> {
        self.with(|inner| inner.routes.end(self.id, Instant::now()))
    }

    /// The proxy says where it can be reached.
    pub fn proxy(&self, public_addrs: Vec<String>) -> Result<(), Superseded> {
        let key = (self.id, self.role);
        self.with(|inner| {
            if let Some(host) = inner.hosts.get_mut(&key) {
                host.public_addrs = public_addrs;
            }
        })
    }

    /// The host says that the policy of a revision is in force there.
    pub fn applied(&self, revision: i64) -> Result<(), Superseded> {
        let key = (self.id, self.role);
        self.with(|inner| {
            if let Some(host) = inner.hosts.get_mut(&key) {
                host.applied = revision;
            }
        })?;
        self.presence.ticks.send_modify(|tick| *tick += 1);
        Ok(())
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Result<(), Superseded> {
        let mut inner = self.presence.lock();
        match inner.hosts.get(&(self.id, self.role)) {
            Some(host) if host.epoch == self.epoch => {
                change(&mut inner);
                Ok(())
            }
            _ => Err(Superseded),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let until = Instant::now() + self.presence.pace.grace;
        self.presence.change(|inner| {
            let key = (self.id, self.role);
            if inner.hosts.get(&key).is_some_and(|host| host.epoch == self.epoch) {
                inner.hosts.remove(&key);
                if self.role == SystemRole::Node {
                    inner.routes.end(self.id, until);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
