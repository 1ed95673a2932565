//! What the proxy counts. Every label has a fixed set of values: callers cannot make new series.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use transport::ssh::KeyExchange;

use crate::denied::CODES;

/// The proxy's metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    connections: Family<Protocol, Counter>,
    failures: Family<Protocol, Counter>,
    dropped: Counter,
    relays: Family<Protocol, Gauge>,
    dials: Family<Outcome, Counter>,
    cuts: Family<Reason, Counter>,
    bytes: Family<Direction, Counter<u64, AtomicU64>>,
    nodes: Gauge,
    key_exchanges: Family<Exchange, Counter>,
}

/// What a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Protocol {
    protocol: &'static str,
}

impl Protocol {
    pub(crate) const UNKNOWN: Self = Self { protocol: "unknown" };
    pub(crate) const AUTH: Self = Self { protocol: "auth" };
    pub(crate) const JOIN: Self = Self { protocol: "join" };
    pub(crate) const JUMP: Self = Self { protocol: "jump" };
    pub(crate) const SSH: Self = Self { protocol: "ssh" };
    pub(crate) const WEB: Self = Self { protocol: "web" };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exchange {
    key_exchange: &'static str,
}

impl Exchange {
    fn of(exchange: KeyExchange) -> Self {
        Self { key_exchange: exchange.name() }
    }
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("proxy");
        let m = metrics.clone();
        registry.register("connections", "Connections by what their first bytes asked for", m.connections);
        registry.register("failures", "Connections that ended before they were served", m.failures);
        registry.register(
            "strangers_dropped",
            "Connections dropped before they proved who they were, to make room for others",
            m.dropped,
        );
        registry.register("relays", "Relays that are open", m.relays);
        registry.register("dials", "Dials of nodes by outcome", m.dials);
        registry.register("cuts", "Live relays that were ended, by reason", m.cuts);
        registry.register("relayed_bytes", "Bytes relayed to and from nodes", m.bytes);
        registry.register("nodes", "Nodes known", m.nodes);
        // From the start, so that the first jump that is not post-quantum is an increase and not a new series.
        for exchange in KeyExchange::ALL {
            drop(m.key_exchanges.get_or_create(&Exchange::of(exchange)));
        }
        registry.register(
            "key_exchanges",
            "Jump connections that logged in, by key exchange",
            m.key_exchanges,
        );
        metrics
    }

    pub(crate) fn connection(&self, protocol: Protocol) {
        self.connections.get_or_create(&protocol).inc();
    }

    pub(crate) fn failure(&self, protocol: Protocol) {
        self.failures.get_or_create(&protocol).inc();
    }

    pub(crate) fn dropped(&self) {
        self.dropped.inc();
    }

    /// Counts a relay for as long as the value lives.
    pub(crate) fn relay(&self, protocol: Protocol) -> impl Drop + Send + use<> {
        let gauge = self.relays.get_or_create(&protocol).clone();
        gauge.inc();
        Open(gauge)
    }

    pub(crate) fn dial(&self, outcome: &str) {
        let outcome = CODES.into_iter().find(|code| *code == outcome).unwrap_or("other");
        self.dials.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn connected(&self) {
        self.dials.get_or_create(&Outcome { outcome: "connected" }).inc();
    }

    pub(crate) fn cut(&self, reason: &'static str) {
        self.cuts.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn bytes(&self, to_node: u64, to_client: u64) {
        self.bytes.get_or_create(&Direction { direction: "to_node" }).inc_by(to_node);
        self.bytes.get_or_create(&Direction { direction: "to_client" }).inc_by(to_client);
    }

    pub(crate) fn key_exchange(&self, exchange: KeyExchange) {
        self.key_exchanges.get_or_create(&Exchange::of(exchange)).inc();
    }

    pub(crate) fn nodes(&self, count: usize) {
        self.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use prometheus_client::{encoding::text::encode, registry::Registry};

    /// The daemon's registry says whose they are.
    #[test]
    fn names_have_one_prefix() {
        let mut registry = Registry::with_prefix("postern");
        Metrics::register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("encodes");
        assert!(text.contains("\npostern_proxy_nodes ") && !text.contains("postern_postern"), "{text}");
    }
}
