//! What a node has from its membership in the cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::HostId;
use agent::{AuditEvent, HostAgent, Report};
use api::v1::NodeReport;
use identity::policy::Policy;
use serde_json::{Map, Value};
use tokio::sync::watch;
use transport::ssh::HostCredentials;

/// Membership as a node sees it: what it decides by, what it shows, and where it reports to.
#[derive(Clone)]
pub struct Host {
    /// This host.
    pub id: HostId,
    /// The policy in force.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// What clients are shown.
    pub credentials: watch::Receiver<Arc<HostCredentials>>,
    /// How long ago auth was last heard of.
    pub silence: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Takes events for the audit log and never waits.
    pub audit: Arc<dyn Fn(Map<String, Value>) + Send + Sync>,
    /// Takes what this node says of itself.
    pub report: Arc<dyn Fn(NodeReport) + Send + Sync>,
}

impl Host {
    /// Of an agent that has joined. Follows it for as long as it lives.
    ///
    /// What clients are shown comes from [`HostAgent::ssh_host`], with a way to sign where the key is not the agent's.
    pub fn of(agent: Arc<HostAgent>, credentials: watch::Receiver<Arc<HostCredentials>>) -> Self {
        let (auditor, reporter, listener) = (agent.audit().clone(), Arc::clone(&agent), Arc::clone(&agent));
        Self {
            id: agent.host_id(),
            policy: policies(&agent),
            credentials,
            silence: Arc::new(move || listener.silence()),
            audit: Arc::new(move |fields| auditor.emit(event(fields))),
            report: Arc::new(move |report| reporter.report(Report::Node(report))),
        }
    }
}

fn policies(agent: &HostAgent) -> watch::Receiver<Arc<Policy>> {
    let mut view = agent.policy();
    let (policies, followed) = watch::channel(view.current());
    tokio::spawn(async move {
        while let Some(policy) = view.changed().await {
            policies.send_replace(policy);
        }
    });
    followed
}

fn event(fields: Map<String, Value>) -> AuditEvent {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let start = AuditEvent::new(&text("event"), &text("code"));
    fields.into_iter().fold(start, |event, (name, value)| event.with(&name, value))
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("id", &self.id).finish_non_exhaustive()
    }
}
