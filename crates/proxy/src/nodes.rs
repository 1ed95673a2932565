//! The directory of nodes, kept in step with what auth says.

use std::sync::{Arc, PoisonError, RwLock};

use agent::NodeEvent;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::routing::Directory;

/// The nodes; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes(Arc<RwLock<Directory>>);

impl Nodes {
    /// Asks the directory.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&Directory) -> T) -> T {
        ask(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in one piece of news.
    pub(crate) fn apply(&self, event: NodeEvent) {
        // A large list is sorted in before readers are stopped.
        let fresh = match event {
            NodeEvent::All(nodes) => {
                let mut fresh = Directory::default();
                fresh.replace(nodes);
                Some(fresh)
            }
            NodeEvent::Upsert(node) => return self.write(|directory| directory.upsert(*node)),
            NodeEvent::Remove(id) => return self.write(|directory| directory.remove(id)),
        };
        self.write(|directory| *directory = fresh.unwrap_or_default());
    }

    /// Follows auth for ever.
    pub(crate) async fn follow(self, mut events: mpsc::Receiver<NodeEvent>, metrics: Metrics) {
        while let Some(event) = events.recv().await {
            self.apply(event);
            metrics.nodes(self.read(Directory::len));
        }
    }

    fn write(&self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
