//! The directory of nodes, kept in step with what auth says, and on disk for a start without auth.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use agent::{NodeEvent, NodeMemory};
use tokio::sync::{Notify, mpsc};

use crate::metrics::Metrics;
use crate::routing::Directory;

/// Between two writings of the list at least.
const REST: Duration = Duration::from_secs(1);
/// And at least so many times as long as the last one took.
const REST_SHARE: u32 = 200;

/// The nodes; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// None until a list was heard or remembered.
    directory: RwLock<Option<Directory>>,
    changed: Notify,
}

impl Nodes {
    /// What an earlier run remembered, until auth says more.
    pub(crate) fn remembered(memory: &NodeMemory) -> Self {
        let nodes = Self::default();
        if let Some(known) = memory.load() {
            tracing::debug!(
                nodes = known.len(),
                "the list of nodes of an earlier run is in use until auth sends one"
            );
            nodes.apply(NodeEvent::All(known));
        }
        nodes
    }

    /// Asks the directory; no answer when there is none yet.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&Directory) -> T) -> Option<T> {
        self.0.directory.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
    }

    /// Takes in one piece of news.
    pub(crate) fn apply(&self, event: NodeEvent) {
        // A large list is sorted in before readers are stopped.
        let fresh = match event {
            NodeEvent::All(nodes) => {
                let mut fresh = Directory::default();
                fresh.replace(nodes);
                fresh
            }
            NodeEvent::Upsert(node) => return self.write(|directory| directory.upsert(*node)),
            NodeEvent::Remove(id) => return self.write(|directory| directory.remove(id)),
        };
        *self.0.directory.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
    }

    /// Follows auth for ever.
    pub(crate) async fn follow(self, mut events: mpsc::Receiver<NodeEvent>, metrics: Metrics) {
        metrics.nodes(self.len());
        while let Some(event) = events.recv().await {
            self.apply(event);
            metrics.nodes(self.len());
            self.0.changed.notify_one();
        }
    }

    /// Keeps what is remembered in step, for ever. Apart from following, which must not wait for a disk.
    pub(crate) async fn remember(self, memory: NodeMemory) {
        loop {
            self.0.changed.notified().await;
            let (nodes, memory) = (self.clone(), memory.clone());
            let started = Instant::now();
            let _ = tokio::task::spawn_blocking(move || nodes.save(&memory)).await;
            tokio::time::sleep(REST.max(started.elapsed() * REST_SHARE)).await;
        }
    }

    fn save(&self, memory: &NodeMemory) {
        if let Some(entries) = self.read(|directory| directory.entries().cloned().collect::<Vec<_>>()) {
            memory.save(entries.iter().map(|entry| entry.node().clone()));
        }
    }

    fn len(&self) -> usize {
        self.read(Directory::len).unwrap_or_default()
    }

    /// News of one node means nothing before there is a list.
    fn write(&self, change: impl FnOnce(&mut Directory)) {
        self.0.directory.write().unwrap_or_else(PoisonError::into_inner).as_mut().map(change);
    }
}
