//! Events that never reach auth: each is counted, and the log says so without being flooded by it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The log is told no oftener.
const SILENCE: Duration = Duration::from_secs(10);

/// How many were lost. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    count: Counter,
    said: Arc<Mutex<Option<Instant>>>,
}

impl Losses {
    /// So many more, and why.
    pub(super) fn add(&self, lost: u64, reason: &str) {
        let dropped = self.count.inc_by(lost) + lost;
        if self.due(Instant::now()) {
            tracing::error!(dropped, reason, "audit events are lost");
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.count.get()
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("audit_dropped", "Audit events that were lost", self.count.clone());
    }

    fn due(&self, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|said| now.duration_since(said) >= SILENCE);
        if due {
            *said = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Losses, SILENCE};
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;
    use std::time::Instant;

    #[test]
    fn all_are_counted_and_the_log_is_not_flooded() {
        let losses = Losses::default();
        let (mut registry, mut text) = (Registry::default(), String::new());
        losses.register(&mut registry);
        losses.add(2, "a reason");
        losses.clone().add(3, "a reason");
        encode_registry(&mut text, &registry).expect("text");
        assert!(text.contains("audit_dropped_total 5"), "{text}");
        let now = Instant::now();
        assert!(!losses.due(now));
        assert!(losses.due(now + SILENCE) && !losses.due(now + SILENCE));
    }
}
