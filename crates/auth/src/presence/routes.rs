//! The nodes that proxies can reach, as a list that is followed.

use access::HostId;
use access::resource::{Node, Resource};
use std::collections::HashMap;
use std::sync::Arc;
use store::Revision;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How many changes a follower may be behind before it gets the whole list again.
const BACKLOG: usize = 1024;

/// A node as proxies know it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its record.
    pub node: Arc<Node>,
    /// The record as JSON, made once for all proxies.
    pub json: Arc<str>,
    /// The revision of the stored record.
    pub revision: Revision,
    /// Without a stream it goes away then.
    until: Option<Instant>,
}

/// A change to the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// A node is there, or says something else of itself.
    Upsert(Arc<str>),
    /// A node is not there any more.
    Remove(HostId),
}

/// The list, and what happens to it afterwards.
pub struct Routes {
    /// Nodes with a stream first, each in the order of its name.
    pub list: Vec<Arc<str>>,
    /// What comes after; when it lags, ask for the list again.
    pub changes: broadcast::Receiver<RouteChange>,
}

pub(super) struct Table {
    routes: HashMap<HostId, Route>,
    changes: broadcast::Sender<RouteChange>,
}

impl Default for Table {
    fn default() -> Self {
        Self { routes: HashMap::new(), changes: broadcast::Sender::new(BACKLOG) }
    }
}

impl Table {
    pub fn expect_back(&mut self, known: Vec<(Node, Revision)>, until: Instant) {
        for (node, revision) in known {
            if self.routes.contains_key(&node.id) {
                continue;
            }
            let route = Route::new(node, revision, Some(until));
            self.tell(RouteChange::Upsert(route.json.clone()));
            self.routes.insert(route.node.id, route);
        }
    }

    pub fn put(&mut self, node: Node, revision: Revision) {
        let id = node.id;
        let route = Route::new(node, revision, None);
        let json = route.json.clone();
        let before = self.routes.insert(id, route);
        if before.is_none_or(|before| before.json != json) {
            self.tell(RouteChange::Upsert(json));
        }
    }

    pub fn end(&mut self, id: HostId, until: Instant) {
        if let Some(route) = self.routes.get_mut(&id) {
            route.until = Some(until);
        }
    }

    pub fn sweep(&mut self, now: Instant) {
        let over = |route: &Route| route.until.is_some_and(|until| until <= now);
        let gone: Vec<HostId> =
            self.routes.iter().filter(|(_, route)| over(route)).map(|(id, _)| *id).collect();
        for id in gone {
            self.routes.remove(&id);
            self.tell(RouteChange::Remove(id));
        }
    }

    pub fn subscribe(&self) -> Routes {
        let mut routes: Vec<&Route> = self.routes.values().collect();
        routes.sort_by_key(|route| (route.until.is_some(), &route.node.spec.hostname, route.node.id));
        let list = routes.into_iter().map(|route| route.json.clone()).collect();
        Routes { list, changes: self.changes.subscribe() }
    }

    /// The nodes with a stream.
    pub fn live(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().filter(|route| route.until.is_none())
    }

    /// The record of a node was written again without a change that matters to proxies.
    pub fn rewritten(&mut self, node: Node, before: Revision, now: Revision) {
        if let Some(route) = self.routes.get_mut(&node.id)
            && route.revision == before
        {
            route.node = Arc::new(node);
            route.revision = now;
        }
    }

    /// Nobody may be listening, which is no fault.
    fn tell(&self, change: RouteChange) {
        let _ = self.changes.send(change);
    }
}

impl Route {
    fn new(node: Node, revision: Revision, until: Option<Instant>) -> Self {
        let json = plain(&node).to_string().into();
        Self { node: Arc::new(node), json, revision, until }
    }
}

/// What a node says of itself, without what changes by itself.
fn plain(node: &Node) -> serde_json::Value {
    let mut node = node.clone();
    node.spec.last_seen = None;
    node.metadata.revision = None;
    Resource::Node(node).to_json()
}
