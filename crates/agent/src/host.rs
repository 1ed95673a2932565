//! The agent of one host and one role.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::{ClusterName, HostId, SystemRole};
use api::v1::HostDetails;
use identity::Credentials;
use identity::key::PublicKey;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::LiveCredentials;
use transport::health::ServiceHealth;
use transport::rpc::{Channel, connect_auth};

use crate::audit::{self, Auditor};
use crate::config::{Config, Report, StartError};
use crate::inventory::{Heard, Inventory, Link, NodeEvent};
use crate::node_memory::NodeMemory;
use crate::policy::{Keeper, PolicyView};
use crate::rejoining::Rejoin;
use crate::renewal::Renewer;
use crate::ssh_host::{self, SshHost};
use crate::state::{self, StateDir, StateError};

/// The file with key, certificates and trust, in the form of an identity file.
pub(crate) const CREDENTIALS: &str = "identity";
/// News of nodes that a proxy has not taken yet.
const NODE_EVENTS: usize = 1024;

/// A member of the cluster. It lives until the token it was started with is cancelled, which a service does after its
/// own end, so that the last events still reach the audit log; [`Self::stopped`] waits for the end.
#[derive(Debug)]
pub struct HostAgent {
    host_id: HostId,
    cluster: ClusterName,
    credentials: LiveCredentials,
    channel: Channel,
    ssh_host: SshHost,
    policy: Arc<Keeper>,
    report: watch::Sender<Report>,
    nodes: Mutex<Option<mpsc::Receiver<NodeEvent>>>,
    node_memory: NodeMemory,
    link: watch::Receiver<Link>,
    heard: Arc<Heard>,
    auditor: Auditor,
    tasks: TaskTracker,
}

impl HostAgent {
    /// Returns once the host is a member and has a policy to decide by. With credentials and policy of an earlier run
    /// that needs no auth; otherwise auth is waited for, and `health` says so.
    pub async fn start(
        config: Config,
        health: &ServiceHealth,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let starting = Self::prepare(config, health, &shutdown);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(StartError::Stopped),
            started = starting => started,
        }
    }

    async fn prepare(
        config: Config,
        health: &ServiceHealth,
        shutdown: &CancellationToken,
    ) -> Result<Self, StartError> {
        let host_id = state::host_id(&config.data_dir)?;
        let state = StateDir::open(&config.data_dir, config.role)?;
        let host = HostDetails {
            host_id: host_id.to_string(),
            hostname: config.hostname.clone(),
            principals: config.principals.clone(),
            ssh_public_key: config.ssh_key.as_ref().map(PublicKey::spki_der).unwrap_or_default(),
        };
        let Config { role, join: source, ssh_key, .. } = config;
        let rejoin = Rejoin { role, auth: config.auth.clone(), source, ssh_key };
        let first = match stored(&state, host_id, config.role)? {
            Some(credentials) if credentials.expires() > Timestamp::now() => credentials,
            old => join(&rejoin, &state, &host, host_id, old, health).await?,
        };
        let cluster = first.identity().cluster.clone();
        let bad = |error: transport::tls::CredentialsError| StartError::BadCredentials(error.to_string());
        let credentials = LiveCredentials::new(first).map_err(bad)?;
        let channel = connect_auth(&config.auth, &credentials);
        let policy = Arc::new(Keeper::open(state.clone(), credentials.clone(), health.clone())?);
        let (report, reports) = watch::channel(config.report);
        let (node_events, nodes) = mpsc::channel(NODE_EVENTS);
        let (link_sender, link) = watch::channel(Link::Connecting);
        let heard = Arc::new(Heard::through(policy.age(Timestamp::now())));
        let tasks = TaskTracker::new();
        let inventory = Inventory {
            channel: channel.clone(),
            policy: Arc::clone(&policy),
            report: reports,
            nodes: node_events,
            link: link_sender,
            heard: Arc::clone(&heard),
        };
        let renewer = Renewer {
            state: state.clone(),
            credentials: credentials.clone(),
            channel: channel.clone(),
            host,
            rejoin,
        };
        let current = renewer.with_the_right_ssh_key(|reason| health.degraded(reason.to_owned())).await?;
        let (ssh_host, following) = ssh_host::of(current.credentials())?;
        let heard_policies = policy.subscribe();
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(inventory.run()));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(Arc::clone(&policy).keep_remembering()));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(renewer.run(heard_policies)));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(following.run(credentials.clone())));
        let (auditor, sending) = audit::start(&state, channel.clone(), health.clone(), shutdown.clone())?;
        tasks.spawn(sending);
        tasks.close();
        let link_now = link.clone();
        first_policy(&policy, link_now, health).await;
        let nodes = Mutex::new(Some(nodes));
        let node_memory = NodeMemory::new(state, cluster.clone());
        Ok(Self {
            host_id,
            cluster,
            credentials,
            channel,
            ssh_host,
            policy,
            report,
            nodes,
            node_memory,
            link,
            heard,
            auditor,
            tasks,
        })
    }

    /// This host's id.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        self.host_id
    }

    /// The cluster it is a member of.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Its credentials, always the newest.
    #[must_use]
    pub fn credentials(&self) -> &LiveCredentials {
        &self.credentials
    }

    /// What an SSH server of this host shows, always the newest.
    #[must_use]
    pub fn ssh_host(&self) -> SshHost {
        self.ssh_host.clone()
    }

    /// A channel to auth with those credentials.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The policy to decide by.
    #[must_use]
    pub fn policy(&self) -> PolicyView {
        self.policy.view()
    }

    /// Tells auth something new about this host; the same again is not sent.
    pub fn report(&self, report: Report) {
        self.report.send_if_modified(|old| std::mem::replace(old, report.clone()) != report);
    }

    /// What a proxy hears of nodes. Whoever asks first gets it.
    #[must_use]
    pub fn take_nodes(&self) -> Option<mpsc::Receiver<NodeEvent>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What a proxy remembers of nodes across restarts.
    #[must_use]
    pub fn node_memory(&self) -> &NodeMemory {
        &self.node_memory
    }

    /// Whether auth is there; for the health of the service.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// How long ago auth was last heard: the age of the local view of locks. Counted from the
    /// remembered policy's date as long as it was not heard since the start.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heard.ago()
    }

    /// Reports events to the audit log.
    #[must_use]
    pub fn audit(&self) -> &Auditor {
        &self.auditor
    }

    /// Returns when everything of the agent has ended after it was told to stop.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

async fn join(
    rejoin: &Rejoin,
    state: &StateDir,
    host: &HostDetails,
    host_id: HostId,
    old: Option<Credentials>,
    health: &ServiceHealth,
) -> Result<Credentials, StartError> {
    let role = rejoin.role;
    let Some(source) = &rejoin.source else {
        return Err(match old {
            Some(old) => StartError::Expired { role, at: old.expires() },
            None => StartError::NoToken { role },
        });
    };
    let waiting = |reason: &str| health.degraded(format!("has not joined yet: {reason}"));
    rejoin.join(state, host, host_id, source, None, waiting).await
}

/// What an earlier run left.
fn stored(state: &StateDir, host_id: HostId, role: SystemRole) -> Result<Option<Credentials>, StateError> {
    let Some(bytes) = state.read(CREDENTIALS)? else { return Ok(None) };
    let path = state.path(CREDENTIALS);
    let next = "; restore the file, or remove it and join again";
    let wrong = |reason: String| StateError::new(&path, reason + next);
    let bytes = zeroize::Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
    let credentials = identity::file::decode_host(text).map_err(|error| wrong(error.to_string()))?;
    check(&credentials, host_id, role).map_err(wrong)?;
    Ok(Some(credentials))
}

/// Whether the credentials are this host's, in this role.
pub(crate) fn check(credentials: &Credentials, id: HostId, role: SystemRole) -> Result<(), String> {
    match credentials.identity().host() {
        Some(host) if host.id == id && host.role == role => Ok(()),
        Some(host) => Err(format!("they are of the {} {}, not of the {role} {id}", host.role, host.id)),
        None => Err("they are not a host's".to_owned()),
    }
}

/// Waits until there is a policy.
async fn first_policy(policy: &Keeper, mut link: watch::Receiver<Link>, health: &ServiceHealth) {
    let mut policies = policy.subscribe();
    loop {
        if policies.borrow_and_update().is_some() {
            return;
        }
        if let Link::Down(reason) = &*link.borrow_and_update() {
            health.degraded(format!("has no policy to decide by yet: {reason}"));
        }
        tokio::select! {
            changed = policies.changed() => if changed.is_err() { std::future::pending::<()>().await },
            changed = link.changed() => if changed.is_err() { std::future::pending::<()>().await },
        }
    }
}
