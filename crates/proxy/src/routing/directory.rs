//! The registered nodes, found by id or name without looking at all of them.

use std::collections::HashMap;
use std::sync::Arc;

use access::resource::Node;
use access::{HostId, HostPort, Labels};

/// Where nodes that name no port listen.
const SSH_PORT: u16 = 3022;

/// A registered node, prepared for routing.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    node: Node,
    labels: Labels,
    /// Where the proxy dials it; none when it reported nothing that is an address.
    addr: Option<HostPort>,
    /// `addr` and the public ones.
    addrs: Vec<HostPort>,
}

impl Entry {
    /// Prepares a node.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let read = |text: &String| HostPort::parse(text, SSH_PORT).ok();
        let addr = read(&node.spec.addr);
        let public = node.spec.public_addrs.iter().filter_map(read);
        let addrs = addr.iter().cloned().chain(public).collect();
        Self { labels: node.labels(), addr, addrs, node }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its labels, static and dynamic.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Where the proxy dials it.
    #[must_use]
    pub fn addr(&self) -> Option<&HostPort> {
        self.addr.as_ref()
    }

    /// Whether `host` is its host name or the host of one of its addresses.
    pub(super) fn is_called(&self, host: &str, fold: bool) -> bool {
        self.names().any(|name| name == host || (fold && folds_to(name, host)))
    }

    /// Whether one of its addresses has exactly this port.
    pub(super) fn listens_on(&self, port: u32) -> bool {
        self.addrs.iter().any(|addr| u32::from(addr.port()) == port)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.node.spec.hostname.as_str())
            .filter(|name| !name.is_empty())
            .chain(self.addrs.iter().map(HostPort::host))
    }

    /// The keys under which the index has it, each once.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.names().map(str::to_ascii_lowercase).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// A registered name's capital letters stand for small ones in what is asked for, not the other way round, so that
/// `foo` finds `Foo` and `Foo` still means only itself. ASCII only.
fn folds_to(registered: &str, asked: &str) -> bool {
    registered.len() == asked.len()
        && registered.bytes().zip(asked.bytes()).all(|(r, a)| r == a || r.to_ascii_lowercase() == a)
}

/// All registered nodes.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_id: HashMap<HostId, Arc<Entry>>,
    by_name: HashMap<String, Vec<HostId>>,
}

impl Directory {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Replaces everything.
    pub fn replace(&mut self, nodes: impl IntoIterator<Item = Node>) {
        *self = Self::default();
        for node in nodes {
            self.upsert(node);
        }
    }

    /// Adds a node, or replaces what was known of it.
    pub fn upsert(&mut self, node: Node) {
        self.remove(node.id);
        let entry = Arc::new(Entry::new(node));
        let id = entry.node.id;
        for key in entry.keys() {
            self.by_name.entry(key).or_default().push(id);
        }
        self.by_id.insert(id, entry);
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: HostId) {
        let Some(entry) = self.by_id.remove(&id) else { return };
        for key in entry.keys() {
            if let Some(ids) = self.by_name.get_mut(&key) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_name.remove(&key);
                }
            }
        }
    }

    /// Every node, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_id.values()
    }

    /// The node with this id.
    #[must_use]
    pub fn by_id(&self, id: HostId) -> Option<&Arc<Entry>> {
        self.by_id.get(&id)
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.by_name.len()
    }

    /// Every node that has a name like `host`, in any case.
    pub(super) fn by_name<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let ids = self.by_name.get(&host.to_ascii_lowercase()).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.by_id.get(id))
    }
}
