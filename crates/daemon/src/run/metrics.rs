//! The one registry of metrics; services register theirs in it when they start.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text},
    metrics::{gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::board::Board;

/// Shared by the services, which register, and `/metrics`, which reads.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry that holds the version and the health of the services.
    #[must_use]
    pub fn new(board: Arc<Board>) -> Self {
        let mut registry = Registry::with_prefix("postern");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register_collector(Box::new(HealthCollector { board }));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Registers metrics of a service.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }
}

#[derive(Debug)]
struct HealthCollector {
    board: Arc<Board>,
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let about = "1 when the service can do its job";
        let kind = prometheus_client::metrics::MetricType::Gauge;
        let mut family = encoder.encode_descriptor("service_ready", about, None, kind)?;
        for service in self.board.readiness().services {
            let ready = ConstGauge::new(i64::from(service.status == "ready"));
            ready.encode(family.encode_family(&[("service", service.service)])?)?;
        }
        Ok(())
    }
}
