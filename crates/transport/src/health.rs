//! How a service says whether it can do its job.
//!
//! A service is given a [`ServiceHealth`] when it starts and keeps it true; the daemon reads all of them for `/readyz`.
//! It stands in this crate because every service and the daemon see it. It must not know any service by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Whether a service can do its job, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not yet; nothing is wrong so far.
    Starting,
    /// Yes.
    Ready,
    /// Not, or not all of it, for this reason; an operator reads it, so it names the next step and holds no secrets.
    Degraded(String),
}

/// A service's own word on its health. Clones speak for the same service.
#[derive(Debug, Clone)]
pub struct ServiceHealth {
    service: &'static str,
    status: Arc<watch::Sender<Status>>,
    parts: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl ServiceHealth {
    /// Health of the service with this name (`auth`, `proxy`, `node`), which is [`Status::Starting`].
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self { service, status: Arc::new(watch::Sender::new(Status::Starting)), parts: Arc::default() }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// The service can do its job.
    pub fn ready(&self) {
        self.set(Status::Ready);
    }

    /// The service cannot do its job, or not all of it.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Status::Degraded(reason.into()));
    }

    /// Changes the status; repeating it is silent, a change is logged.
    pub fn set(&self, status: Status) {
        let changed = self.status.send_if_modified(|current| {
            let changed = *current != status;
            current.clone_from(&status);
            changed
        });
        let service = self.service;
        match status {
            _ if !changed => {}
            Status::Starting => tracing::info!(service, "service is starting"),
            Status::Ready => tracing::info!(service, "service is ready"),
            Status::Degraded(reason) => tracing::warn!(service, reason, "service is degraded"),
        }
    }

    /// What a part of the service has to complain of, until it says that it has nothing. The service goes on saying what it
    /// knows; it is ready only when no part complains. A change is logged.
    pub fn part(&self, part: &'static str, complaint: Option<String>) {
        let service = self.service;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        match complaint {
            Some(reason) if parts.get(part) != Some(&reason) => {
                tracing::warn!(service, part, reason, "service is degraded");
                parts.insert(part, reason);
            }
            Some(_) => {}
            None if parts.remove(part).is_some() => {
                tracing::info!(service, part, "this part is in order again")
            }
            None => {}
        }
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let complaints = || parts.values().cloned().collect::<Vec<_>>().join("; ");
        match self.status.borrow().clone() {
            Status::Ready if !parts.is_empty() => Status::Degraded(complaints()),
            Status::Degraded(reason) if !parts.is_empty() => {
                Status::Degraded(format!("{reason}; {}", complaints()))
            }
            own => own,
        }
    }

    /// Follows what the service says of itself, without its parts.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Returns once the service is ready.
    pub async fn until_ready(&self) {
        // The sender lives in `self`, so waiting cannot end for another reason.
        let _ = self.subscribe().wait_for(|status| *status == Status::Ready).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{ServiceHealth, Status};

    #[test]
    fn a_part_that_complains_is_heard_whatever_the_service_says() {
        let health = ServiceHealth::new("node");
        health.part("disk", Some("is full".to_owned()));
        assert_eq!(health.status(), Status::Starting);
        health.ready();
        assert_eq!(health.clone().status(), Status::Degraded("is full".to_owned()));
        health.part("clock", Some("is wrong".to_owned()));
        health.degraded("auth is away");
        assert_eq!(health.status(), Status::Degraded("auth is away; is wrong; is full".to_owned()));
        health.ready();
        health.part("disk", None);
        health.part("clock", None);
        assert_eq!(health.status(), Status::Ready);
    }

    #[tokio::test]
    async fn clones_share_one_status_and_waiting_ends_with_ready() {
        let health = ServiceHealth::new("node");
        assert_eq!(health.status(), Status::Starting);
        let service = health.clone();
        let mut changes = health.subscribe();
        service.degraded("auth is away");
        service.degraded("auth is away");
        assert!(changes.has_changed().expect("sender lives"));
        assert_eq!(*changes.borrow_and_update(), Status::Degraded("auth is away".to_owned()));
        assert!(!changes.has_changed().expect("sender lives"));
        let waiting = tokio::spawn(async move { health.until_ready().await });
        service.ready();
        waiting.await.expect("waits and ends");
    }
}
