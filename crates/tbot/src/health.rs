//! How the agent is, service by service: its own identity, each output, its reports to the cluster.
//!
//! One account of it ([`Health`]) is what `diag_addr` serves ([`http`]), what `tbot status` reads from the storage and what the
//! cluster is told. It holds no secrets.

pub mod http;

use crate::config::Content;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Keeps the agent's own identity.
    BotIdentity,
    /// Writes one output for clients.
    IdentityOutput,
    /// Writes one output for an SSH server.
    SshHostOutput,
    /// Looks after a stock OpenSSH server.
    Sshd,
    /// Writes documents for a workload.
    SvidOutput,
    /// Gives documents to workloads that ask.
    WorkloadApi,
    /// Tells the cluster how the agent is.
    Heartbeat,
}

impl Kind {
    /// Of an output.
    pub fn of(content: &Content) -> Self {
        match content {
            Content::Identity { .. } => Self::IdentityOutput,
            Content::Svid(_) => Self::SvidOutput,
            Content::WorkloadApi(_) => Self::WorkloadApi,
            Content::SshHost { .. } => Self::SshHostOutput,
            Content::Sshd(_) => Self::Sshd,
        }
    }

    /// Whether it is one of the configuration's outputs.
    pub fn is_output(self) -> bool {
        !matches!(self, Self::BotIdentity | Self::Heartbeat)
    }

    /// As it stands in metrics and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BotIdentity => "bot-identity",
            Self::IdentityOutput => "identity-output",
            Self::SshHostOutput => "ssh-host-output",
            Self::Sshd => "sshd",
            Self::SvidOutput => "svid-output",
            Self::WorkloadApi => "workload-api",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Whether somebody relies on what it keeps valid.
    fn counts(self) -> bool {
        self != Self::Heartbeat
    }
}

/// How a service is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not tried yet.
    Initializing,
    /// What it keeps is valid, and the last renewal succeeded.
    Healthy,
    /// What it keeps is valid, but the last renewal or one of its hooks failed.
    Degraded,
    /// What it keeps is not valid, or not there.
    Unhealthy,
}

impl Status {
    /// As it stands in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `identity`, `heartbeat`, or the output's name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Where it writes, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Rounds since the start.
    pub iterations: u64,
    /// Those that failed.
    pub failures: u64,
    /// When the last one succeeded.
    pub last_success: Option<Timestamp>,
    /// Until when what it wrote is valid.
    pub expires: Option<Timestamp>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// Why the last round failed.
    pub problem: Option<String>,
    /// What went wrong after the last round that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_problem: Option<String>,
    /// How often something went wrong after a round.
    #[serde(default)]
    pub hook_failures: u64,
}

impl Service {
    /// One that has not been tried.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            destination: None,
            iterations: 0,
            failures: 0,
            last_success: None,
            expires: None,
            next: None,
            problem: None,
            hook_problem: None,
            hook_failures: 0,
        }
    }

    /// Whether what it keeps is valid now. A failed renewal alone is not yet a failure.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        !self.kind.counts() || self.expires.is_some_and(|expires| expires > now)
    }

    /// In one word.
    pub fn status(&self, now: Timestamp) -> Status {
        let faultless = self.problem.is_none() && self.hook_problem.is_none();
        match (self.is_ready(now), faultless) {
            (true, true) if self.kind.counts() || self.iterations > 0 => Status::Healthy,
            (true, false) => Status::Degraded,
            (true, true) => Status::Initializing,
            (false, true) if self.iterations == 0 && self.expires.is_none() => Status::Initializing,
            (false, _) => Status::Unhealthy,
        }
    }

    /// Why it is not healthy; empty when it is.
    pub fn reason(&self, now: Timestamp) -> String {
        match (self.problem.as_ref().or(self.hook_problem.as_ref()), self.is_ready(now), self.expires) {
            (Some(problem), ..) => problem.clone(),
            (None, true, _) => String::new(),
            (None, false, Some(expires)) => format!("what was written expired at {expires}"),
            (None, false, None) if self.last_success.is_some() => "what was written is gone".to_owned(),
            (None, false, None) => "nothing has been written yet".to_owned(),
        }
    }
}

/// The account; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Vec<Service>>>);

impl Health {
    /// Replaces the list of services; those that were there before, by name, keep their history.
    pub fn set_services(&self, services: Vec<Service>) {
        let mut known = self.lock();
        let merged = services.into_iter().map(|new| {
            let before = known.iter().position(|old| old.name == new.name && old.kind == new.kind);
            match before.map(|at| known.swap_remove(at)) {
                Some(old) if old.destination == new.destination => old,
                _ => new,
            }
        });
        let merged = merged.collect();
        *known = merged;
    }

    /// A round of `name` succeeded; what it keeps is good until `expires`.
    pub fn succeeded(&self, name: &str, expires: Option<Timestamp>, next: Option<Timestamp>, now: Timestamp) {
        self.change(name, |service| {
            service.iterations += 1;
            service.last_success = Some(now);
            service.expires = expires;
            service.next = next;
            service.problem = None;
        });
    }

    /// A round of `name` failed.
    pub fn failed(&self, name: &str, error: &dyn std::fmt::Display, next: Option<Timestamp>) {
        let problem = error.to_string();
        self.change(name, |service| {
            service.iterations += 1;
            service.failures += 1;
            service.next = next;
            service.problem = Some(problem);
        });
    }

    /// What was to be done after a round of `name` was done, or went wrong.
    pub fn hooked(&self, name: &str, outcome: Result<(), String>) {
        self.change(name, |service| {
            service.hook_failures += u64::from(outcome.is_err());
            service.hook_problem = outcome.err();
        });
    }

    /// Somebody has to mend something about `name`, though it did what it does; `None` when that is done.
    pub fn remark(&self, name: &str, remark: Option<String>) {
        self.change(name, |service| service.hook_problem = remark);
    }

    /// What an earlier run left is good until `expires`.
    pub fn found(&self, name: &str, expires: Timestamp) {
        self.change(name, |service| service.expires = Some(expires));
    }

    /// What `name` kept is not there any more.
    pub fn lost(&self, name: &str) {
        self.change(name, |service| service.expires = None);
    }

    /// Why the last round of `name` failed, if it did.
    pub fn problem(&self, name: &str) -> Option<String> {
        self.lock().iter().find(|service| service.name == name)?.problem.clone()
    }

    /// Until when what `name` keeps is valid.
    pub fn expires(&self, name: &str) -> Option<Timestamp> {
        self.lock().iter().find(|service| service.name == name)?.expires
    }

    /// Every service, in the order of the configuration.
    pub fn services(&self) -> Vec<Service> {
        self.lock().clone()
    }

    /// Whether everything that others rely on is valid now.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        let services = self.lock();
        !services.is_empty() && services.iter().all(|service| service.is_ready(now))
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Service)) {
        if let Some(service) = self.lock().iter_mut().find(|service| service.name == name) {
            change(service);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Service>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything in one line: for the service manager, and `tbot status`.
pub fn summary(services: &[Service], now: Timestamp) -> String {
    let unready: Vec<&Service> = services.iter().filter(|service| !service.is_ready(now)).collect();
    let outputs = services.iter().filter(|service| service.kind.is_output()).count();
    let failing = services.iter().find(|service| !service.reason(now).is_empty());
    match (unready.first(), failing) {
        (Some(service), _) => format!("{}: {}", service.name, service.reason(now)),
        (None, Some(service)) => {
            format!("all credentials are valid; {}: {}", service.name, service.reason(now))
        }
        (None, None) => format!("{outputs} output(s) valid"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, Kind, Service, Status};
    use jiff::{SignedDuration, Timestamp};

    fn health() -> Health {
        let health = Health::default();
        health.set_services(vec![
            Service::new("identity", Kind::BotIdentity),
            Service::new("a", Kind::IdentityOutput),
            Service::new("heartbeat", Kind::Heartbeat),
        ]);
        health
    }

    fn status(health: &Health, name: &str, now: Timestamp) -> Status {
        health.services().iter().find(|service| service.name == name).expect("listed").status(now)
    }

    #[test]
    fn ready_is_who_has_valid_files_on_disk() {
        let (health, now) = (health(), Timestamp::now());
        assert!(!health.is_ready(now), "nothing is written yet");
        assert_eq!(status(&health, "a", now), Status::Initializing);
        let hour = SignedDuration::from_hours(1);
        health.succeeded("identity", Some(now + hour), None, now);
        assert!(!health.is_ready(now), "one is not all");
        health.succeeded("a", Some(now + hour), None, now);
        assert!(health.is_ready(now), "a heartbeat is nobody's credential");
        assert_eq!(status(&health, "a", now), Status::Healthy);
        health.failed("a", &"auth is away", None);
        assert!(health.is_ready(now), "a failed renewal is told, and no failure yet");
        assert_eq!(status(&health, "a", now), Status::Degraded);
        let later = now + hour + hour;
        assert!(!health.is_ready(later));
        assert_eq!(status(&health, "a", later), Status::Unhealthy);
    }

    #[test]
    fn a_new_list_keeps_the_history_of_those_that_stay() {
        let (health, now) = (health(), Timestamp::now());
        health.succeeded("a", Some(now), None, now);
        health.set_services(vec![
            Service::new("b", Kind::IdentityOutput),
            Service::new("a", Kind::IdentityOutput),
        ]);
        let services = health.services();
        let told: Vec<_> =
            services.iter().map(|service| (service.name.as_str(), service.iterations)).collect();
        assert_eq!(told, [("b", 0), ("a", 1)]);
    }
}
