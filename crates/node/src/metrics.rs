//! Figures for operators. Labels come from fixed sets alone, so that no client can make them grow.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use transport::ssh::KeyExchange;

/// What a node counts.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) startups: Gauge,
    accepted: Counter,
    key_exchanges: Family<Exchange, Counter>,
    pub(crate) refused: Family<Reason, Counter>,
    pub(crate) cut: Family<Reason, Counter>,
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) locks_stale: Gauge,
}

/// Why, by a stable code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// By which key exchange.
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
    pub fn register(&self, registry: &mut Registry) {
        let node = registry.sub_registry_with_prefix("node");
        node.register("connections", "Connections that have logged in", self.connections.clone());
        node.register("sessions", "Session channels that are open", self.sessions.clone());
        node.register("startups", "Connections that have not logged in yet", self.startups.clone());
        node.register("logins", "Connections that logged in", self.accepted.clone());
        // From the start, so that the first login that is not post-quantum is an increase and not a new series.
        for exchange in KeyExchange::ALL {
            drop(self.key_exchanges.get_or_create(&Exchange::of(exchange)));
        }
        node.register(
            "key_exchanges",
            "Connections that logged in, by key exchange",
            self.key_exchanges.clone(),
        );
        node.register("refused", "Connections and logins that were refused", self.refused.clone());
        node.register("cut", "Connections that the node ended", self.cut.clone());
        node.register("sent_bytes", "Bytes to clients, of ended connections", self.sent.clone());
        node.register("received_bytes", "Bytes from clients, of ended connections", self.received.clone());
        node.register(
            "locks_stale",
            "1 when auth was not heard for too long to rely on locks",
            self.locks_stale.clone(),
        );
    }

    /// Counts a connection that logged in.
    pub(crate) fn log_in(&self, exchange: KeyExchange) {
        self.accepted.inc();
        self.key_exchanges.get_or_create(&Exchange::of(exchange)).inc();
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refuse_many(reason, 1);
    }

    pub(crate) fn refuse_many(&self, reason: &'static str, number: u64) {
        self.refused.get_or_create(&Reason { reason }).inc_by(number);
    }
}
