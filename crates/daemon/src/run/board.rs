//! The health of all services of this process, as `/readyz` tells it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use transport::health::{ServiceHealth, Status};

/// Every service's own word, and whether the daemon is about to stop.
#[derive(Debug, Default)]
pub struct Board {
    services: Vec<ServiceHealth>,
    stopping: AtomicBool,
}

/// Whether this process can do all of its jobs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// True only when every service is ready and the daemon is not about to stop.
    pub ready: bool,
    /// True from the moment in which a stop was asked for.
    pub stopping: bool,
    /// One entry per service that is enabled.
    pub services: Vec<ServiceReadiness>,
}

/// Whether a service can do its job.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ServiceReadiness {
    /// Its name.
    pub service: &'static str,
    /// `starting`, `ready` or `degraded`.
    pub status: &'static str,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Board {
    /// A board over the services that will run.
    #[must_use]
    pub fn new(services: Vec<ServiceHealth>) -> Self {
        Self { services, stopping: AtomicBool::new(false) }
    }

    /// From now on, `/readyz` says no, so that load balancers go elsewhere.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// How things are now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let services: Vec<ServiceReadiness> = self.services.iter().map(readiness_of).collect();
        let stopping = self.stopping.load(Ordering::Relaxed);
        // A process without services has no job, so it cannot be ready for it.
        let ready =
            !stopping && !services.is_empty() && services.iter().all(|service| service.status == "ready");
        Readiness { ready, stopping, services }
    }
}

fn readiness_of(health: &ServiceHealth) -> ServiceReadiness {
    let (status, reason) = match health.status() {
        Status::Starting => ("starting", None),
        Status::Ready => ("ready", None),
        Status::Degraded(reason) => ("degraded", Some(reason)),
    };
    ServiceReadiness { service: health.service(), status, reason }
}

#[cfg(test)]
mod tests {
    use transport::health::ServiceHealth;

    use super::Board;

    #[test]
    fn ready_only_when_all_are_and_nothing_stops() {
        let (auth, node) = (ServiceHealth::new("auth"), ServiceHealth::new("node"));
        let board = Board::new(vec![auth.clone(), node.clone()]);
        auth.ready();
        assert!(!board.readiness().ready);
        node.degraded("auth is away");
        assert_eq!(board.readiness().services[1].reason.as_deref(), Some("auth is away"));
        assert!(!board.readiness().ready);
        node.ready();
        assert!(board.readiness().ready);
        board.stopping();
        assert!(!board.readiness().ready);
        assert!(!Board::default().readiness().ready);
    }
}
