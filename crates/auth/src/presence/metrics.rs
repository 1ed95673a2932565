//! What operators count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts of streams and hosts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Streams that began.
    pub opened: Counter,
    nodes: Gauge,
    proxies: Gauge,
}

impl Metrics {
    /// Adds them to the registry that is shown.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("auth_streams_opened", "Inventory streams that hosts began", self.opened.clone());
        registry.register("auth_nodes_online", "Nodes with a stream", self.nodes.clone());
        registry.register("auth_proxies_online", "Proxies with a stream", self.proxies.clone());
    }

    pub(super) fn online(&self, nodes: usize, proxies: usize) {
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
        self.proxies.set(i64::try_from(proxies).unwrap_or(i64::MAX));
    }
}
