//! Writes down, in batches and now and then, when nodes were last seen.

use super::Presence;
use crate::catalog::{Catalog, layout, record};
use access::resource::{Node, Resource};
use api::status::Problem;
use jiff::Timestamp;
use std::sync::Arc;
use store::{Expect, Revision, Txn};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many records one transaction writes: well within what any engine takes at once.
const BATCH: usize = 100;

impl Presence {
    /// The nodes on record. One that cannot be read is left out and told.
    pub async fn known(catalog: &Catalog) -> Result<Vec<(Node, Revision)>, Problem> {
        let mut known = Vec::new();
        for entry in catalog.all(layout::kind(access::resource::Kind::Node)).await? {
            match record::decode(&entry) {
                Ok(Resource::Node(node)) => known.push((node, entry.revision)),
                Ok(other) => tracing::error!(key = %entry.key, kind = %other.kind(), "this is not a node"),
                Err(damaged) => tracing::error!(%damaged, "a node is left out"),
            }
        }
        Ok(known)
    }

    /// Expects the nodes on record back, then sweeps and writes down until told to stop, and a last time then.
    pub async fn keep(self: Arc<Self>, catalog: Arc<Catalog>, stop: CancellationToken) {
        match Self::known(&catalog).await {
            Ok(known) => self.expect_back(known),
            Err(problem) => {
                tracing::error!(%problem, "the nodes on record are not known; they are when they return")
            }
        }
        let mut sweep = tokio::time::interval(self.pace.sweep);
        let mut checkpoint = tokio::time::interval(self.pace.checkpoint);
        checkpoint.reset();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = sweep.tick() => self.sweep(Instant::now()),
                _ = checkpoint.tick() => self.checkpoint_or_tell(&catalog).await,
            }
        }
        self.checkpoint_or_tell(&catalog).await;
    }

    async fn checkpoint_or_tell(&self, catalog: &Catalog) {
        if let Err(problem) = self.checkpoint(catalog).await {
            tracing::warn!(%problem, "when nodes were last seen could not be written down; trying again later");
        }
    }

    /// Writes down that the nodes with a stream are there. A record that somebody changed or removed meanwhile is
    /// left as it is.
    pub async fn checkpoint(&self, catalog: &Catalog) -> Result<(), Problem> {
        let now = catalog.now();
        let live: Vec<(Arc<Node>, Revision)> =
            self.lock().routes.live().map(|route| (route.node.clone(), route.revision)).collect();
        for batch in live.chunks(BATCH) {
            self.write(catalog, batch.to_vec(), now).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        catalog: &Catalog,
        mut batch: Vec<(Arc<Node>, Revision)>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        while !batch.is_empty() {
            let txn = batch.iter().fold(Txn::new(), |txn, (node, revision)| {
                let key = layout::node(node.id);
                let txn = txn.expect(key.clone(), Expect::Revision(*revision));
                record::put(txn, key, &Resource::Node(seen(node, now)))
            });
            match catalog.commit(txn).await? {
                Ok(written) => {
                    let mut inner = self.lock();
                    for (node, before) in &batch {
                        inner.routes.rewritten(seen(node, now), *before, written);
                    }
                    return Ok(());
                }
                Err(conflict) => batch.retain(|(node, _)| conflict.at(&layout::node(node.id)).is_none()),
            }
        }
        Ok(())
    }
}

fn seen(node: &Node, now: Timestamp) -> Node {
    let mut node = node.clone();
    node.spec.last_seen = Some(now);
    node
}
