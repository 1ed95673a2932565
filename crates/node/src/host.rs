//! What a node has from its membership in the cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::HostId;
use agent::{AuditEvent, HostAgent, Report, SshHost};
use api::v1::NodeReport;
use identity::TrustBundle;
use identity::policy::Signed;
use serde_json::{Map, Value};
use tokio::sync::watch;
use transport::ssh::{CredentialError, HostCredentials};

use crate::launcher::Launcher;

/// Membership as a node sees it: what it decides by, what it shows, and where it reports to.
#[derive(Clone)]
pub struct Host {
    /// This host.
    pub id: HostId,
    /// The authorities that this host came to know when it joined.
    pub trust: TrustBundle,
    /// The policy in force.
    pub policy: watch::Receiver<Arc<Signed>>,
    /// What clients are shown.
    pub credentials: watch::Receiver<Arc<HostCredentials>>,
    /// How long ago auth was last heard of.
    pub silence: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Takes events for the audit log and never waits.
    pub audit: Arc<dyn Fn(Map<String, Value>) + Send + Sync>,
    /// How many of them auth does not have yet.
    pub backlog: Arc<dyn Fn() -> usize + Send + Sync>,
    /// Takes what this node says of itself.
    pub report: Arc<dyn Fn(NodeReport) + Send + Sync>,
}

impl Host {
    /// Of an agent that has joined. Follows it for as long as it lives.
    ///
    /// Clients are shown what [`HostAgent::ssh_host`] says; the launcher signs.
    pub fn of(agent: Arc<HostAgent>, launcher: &Launcher) -> Result<Self, NotShown> {
        let credentials = shown(agent.ssh_host(), launcher)?;
        let current = agent.credentials().current().ok_or(NotShown::NoCredentials)?;
        let (auditor, reporter, listener) = (agent.audit().clone(), Arc::clone(&agent), Arc::clone(&agent));
        let sent = auditor.clone();
        Ok(Self {
            id: agent.host_id(),
            trust: TrustBundle::clone(current.trust()),
            policy: policies(&agent),
            credentials,
            silence: Arc::new(move || listener.silence()),
            audit: Arc::new(move |fields| auditor.emit(AuditEvent::of(fields))),
            backlog: Arc::new(move || sent.waiting()),
            report: Arc::new(move |report| reporter.report(Report::Node(report))),
        })
    }
}

/// Why there is nothing to show to clients.
#[derive(Debug, thiserror::Error)]
pub enum NotShown {
    /// The agent has none.
    #[error("the host has no credentials")]
    NoCredentials,
    /// The certificate is about the agent's own key.
    #[error("the host certificate is not about the launcher's key")]
    OtherKey,
    /// The certificate cannot be shown.
    #[error("the host certificate cannot be shown: {0}")]
    Certificate(#[from] CredentialError),
}

/// The certificates over the launcher's key, as the agent renews them.
fn shown(host: SshHost, launcher: &Launcher) -> Result<watch::Receiver<Arc<HostCredentials>>, NotShown> {
    let SshHost::Elsewhere(mut certificates) = host else { return Err(NotShown::OtherKey) };
    let first = launcher.shows(certificates.borrow_and_update().certificate.clone())?;
    let (sender, shown) = watch::channel(Arc::new(first));
    let launcher = launcher.clone();
    tokio::spawn(async move {
        while certificates.changed().await.is_ok() {
            let certificate = certificates.borrow_and_update().certificate.clone();
            match launcher.shows(certificate) {
                Ok(fresh) => drop(sender.send_replace(Arc::new(fresh))),
                Err(error) => tracing::error!(%error, "the SSH server keeps its old host certificate"),
            }
        }
    });
    Ok(shown)
}

fn policies(agent: &HostAgent) -> watch::Receiver<Arc<Signed>> {
    let mut view = agent.policy();
    let (policies, followed) = watch::channel(view.signed());
    tokio::spawn(async move {
        while let Some(policy) = view.changed_signed().await {
            policies.send_replace(policy);
        }
    });
    followed
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("id", &self.id).finish_non_exhaustive()
    }
}
