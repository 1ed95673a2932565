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
    registries: Arc<Mutex<Vec<Registry>>>,
}

impl Metrics {
    /// A registry that holds the version and the health of the services.
    #[must_use]
    pub fn new(board: Arc<Board>) -> Self {
        let mut registry = Self::registry();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register_collector(Box::new(HealthCollector { board }));
        Self { registries: Arc::new(Mutex::new(vec![registry])) }
    }

    /// A registry for a service to fill; its metrics show once it is [adopted](Self::adopt).
    #[must_use]
    pub fn registry() -> Registry {
        Registry::with_prefix("postern")
    }

    /// Shows the metrics of a service.
    pub fn adopt(&self, registry: Registry) {
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).push(registry);
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        for registry in self.registries.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text::encode_registry(&mut out, registry)?;
        }
        text::encode_eof(&mut out)?;
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
