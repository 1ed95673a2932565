//! Starting, reporting, and stopping in good order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::Labels;
use api::v1::NodeReport;
use identity::policy::Policy;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use transport::health::ServiceHealth;
use transport::listen::{BindError, Caps, Listener};
use transport::ssh::server::ServerConfig;

use crate::config::{Config, Limits};
use crate::host::Host;
use crate::launcher::{Launcher, Launches};
use crate::metrics::Metrics;
use crate::session::file_records;
use crate::shared::{Shared, Users};
use crate::{labels, listener};

/// How often the node looks at its own health.
const LOOK: Duration = Duration::from_secs(5);
/// How long connections may take to end when they are told to.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// How long connections that are to be cut wait for the launcher's word.
const ANSWER: Duration = Duration::from_secs(1);
const SLOW: &str = "it does not answer";

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not of this host.
    #[error("cannot listen on {address}: {source}; change ssh_service.listen_addr or stop what uses it")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The helper is not there, or cannot be run.
    #[error("session-exec at {path} cannot be used: {reason}")]
    Helper {
        /// Where it should be.
        path: String,
        /// Why, and the next step.
        reason: String,
    },
}

/// The process with privilege is gone, and every session with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "session-launcher is gone, so nobody could log in any more; its own words, if it had any, stand before this"
)]
pub struct LauncherGone;

/// A node that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    policies: watch::Receiver<Arc<Policy>>,
    work: AbortOnDropHandle<Result<(), LauncherGone>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it decides by.
    #[must_use]
    pub fn policies(&self) -> watch::Receiver<Arc<Policy>> {
        self.policies.clone()
    }

    /// Returns when it has stopped: some time after the shutdown it was started with, or without its launcher.
    pub async fn stopped(self) -> Result<(), LauncherGone> {
        // The work neither panics nor is aborted while this value is waited for.
        self.work.await.unwrap_or(Ok(()))
    }
}

/// Listens, and serves until `shutdown`; then takes nothing new, lets what is open go on for the time that
/// [`crate::Limits::drain`] says, and ends.
pub async fn start(
    config: Config,
    host: Host,
    launcher: Launcher,
    metrics: Metrics,
    health: ServiceHealth,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    helper(&config.session_exec).map_err(|reason| {
        let path = config.session_exec.display().to_string();
        StartError::Helper { path, reason }
    })?;
    let Limits { connections, startups, strangers_per_address, .. } = config.limits;
    // Whose connections they are is not counted here: roles say how many a user may have (`max_connections`).
    let caps = Caps { connections, strangers: startups, strangers_per_address, of_one_member: connections };
    let failed = |BindError { addr: address, reason: source }| StartError::Listen { address, source };
    let listener = Listener::bind(config.listen.clone(), caps).await.map_err(failed)?;
    let address = listener.local_addr();
    let labels = labels::watch(config.labels.clone(), config.commands.clone(), &shutdown).await;
    launcher.labels(&labels.borrow());
    let refused_policy = launch_trust(&launcher, &host).await;
    let (policies, followed) = watch::channel(Arc::clone(&host.policy.borrow().policy));
    let (silence, lock_age) = (Arc::clone(&host.silence), config.limits.lock_age);
    let launcher = Launches::new(launcher, &config.limits, move || silence() <= lock_age);
    let shared = Arc::new(Shared {
        policies: followed.clone(),
        refused_policy: Mutex::new(refused_policy),
        config,
        host,
        labels,
        metrics,
        users: Users::default(),
        launcher,
        file_records: Mutex::new(file_records()),
        draining: shutdown,
        stop: CancellationToken::new(),
    });
    tracing::info!(%address, nodename = %shared.config.nodename, "SSH is served");
    let work = AbortOnDropHandle::new(tokio::spawn(run(listener, address, shared, policies, health)));
    Ok(Running { address, policies: followed, work })
}

/// A helper that is missing, or cannot be run, would only show when the first user comes.
fn helper(path: &Path) -> Result<(), String> {
    let found = std::fs::metadata(path).map_err(|error| match closed_above(path) {
        Some(closed) => format!(
            "{error}: the daemon's user may not pass {closed}; run chmod o+x {closed}, or install the programs below \
             directories that everybody may pass, such as /usr/local/bin",
            closed = closed.display()
        ),
        None => format!("{error}; install it beside postern"),
    })?;
    if !found.is_file() {
        return Err("it is not a file; install it beside postern".to_owned());
    }
    match found.permissions().mode() & 0o111 {
        0 => Err("it has no permission to be run; run chmod 755 on it".to_owned()),
        _ => Ok(()),
    }
}

/// The first directory above that this user may not pass.
fn closed_above(path: &Path) -> Option<PathBuf> {
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    let closed = |path: &&Path| {
        rustix::fs::access(*path, rustix::fs::Access::EXEC_OK) == Err(rustix::io::Errno::ACCESS)
    };
    above.into_iter().rev().find(closed).map(Path::to_owned)
}

/// Gives the launcher what it decides by; says why it does not, if it does not.
async fn launch_trust(launcher: &Launcher, host: &Host) -> Option<String> {
    let policy = Arc::clone(&host.policy.borrow());
    let outcome = match launcher.trust(&host.trust).await {
        Ok(()) => launcher.policy(&policy).await,
        refused => refused,
    };
    outcome.err().inspect(|reason| tracing::error!(reason, "the launcher refuses the policy"))
}

async fn run(
    listener: Listener,
    address: SocketAddr,
    shared: Arc<Shared>,
    policies: watch::Sender<Arc<Policy>>,
    health: ServiceHealth,
) -> Result<(), LauncherGone> {
    let connections = TaskTracker::new();
    let mut ssh = ServerConfig::new(shared.host.credentials.clone());
    ssh.login_grace = shared.config.limits.login_grace;
    ssh.max_channels = shared.config.limits.channels;
    ssh.rekey = shared.config.rekey;
    ssh.algorithms = shared.config.algorithms.clone();
    let beside = async {
        tokio::join!(
            report(&shared, address),
            watch_health(&shared, &health),
            tell_policies(&shared, policies),
            tell_labels(&shared)
        );
    };
    tokio::pin!(beside);
    let gone = shared.launcher.launcher().gone();
    tokio::pin!(gone);
    let mut outcome = tokio::select! {
        () = listener::serve(listener, ssh, Arc::clone(&shared), connections.clone()) => Ok(()),
        () = &mut beside => Ok(()),
        () = &mut gone => Err(LauncherGone),
    };
    connections.close();
    if outcome.is_ok() {
        outcome = tokio::select! {
            () = connections.wait() => Ok(()),
            () = &mut beside => Ok(()),
            () = tokio::time::sleep(shared.config.limits.drain) => Ok(()),
            () = &mut gone => Err(LauncherGone),
        };
    }
    if !connections.is_empty() {
        tracing::info!(open = connections.len(), "ending the connections that are still open");
        shared.stop.cancel();
        let _ = tokio::time::timeout(LAST_MOMENT, connections.wait()).await;
    }
    tracing::info!("SSH is no longer served");
    outcome
}

/// Gives each policy to the launcher first: what it refuses by is never older than what connections are cut by, unless it does
/// not answer. A lock does not wait for that; the launcher is told again.
async fn tell_policies(shared: &Shared, policies: watch::Sender<Arc<Policy>>) {
    let (mut host, mut is_told) = (shared.host.policy.clone(), true);
    loop {
        let policy = Arc::clone(&host.borrow_and_update());
        if !is_told || policy.policy != *policies.borrow() {
            let answer = tokio::time::timeout(ANSWER, shared.launcher.launcher().policy(&policy)).await;
            is_told = answer.is_ok();
            let refused = answer.unwrap_or_else(|_| Err(SLOW.to_owned())).err();
            if let Some(reason) = &refused {
                tracing::error!(reason, "the launcher refuses the policy");
            }
            *shared.refused_policy.lock().unwrap_or_else(PoisonError::into_inner) = refused;
            policies.send_if_modified(|last| {
                let is_new = *last != policy.policy;
                last.clone_from(&policy.policy);
                is_new
            });
        }
        let changed = tokio::select! {
            changed = host.changed() => changed.is_ok(),
            () = tokio::time::sleep(LOOK), if !is_told => true,
        };
        if !changed {
            return std::future::pending().await;
        }
    }
}

/// Tells the launcher what commands for labels have printed.
async fn tell_labels(shared: &Shared) {
    let mut labels = shared.labels.clone();
    while labels.changed().await.is_ok() {
        shared.launcher.launcher().labels(&labels.borrow_and_update());
    }
    // No commands, so nothing will change.
    std::future::pending().await
}

/// Tells auth what this node is, now and whenever its labels change.
async fn report(shared: &Shared, address: SocketAddr) {
    let mut labels = shared.labels.clone();
    loop {
        let all = labels.borrow_and_update().clone();
        (shared.host.report)(what_it_is(shared, address, all));
        if labels.changed().await.is_err() {
            // No commands, so nothing will change.
            return std::future::pending().await;
        }
    }
}

fn what_it_is(shared: &Shared, address: SocketAddr, Labels(all): Labels) -> NodeReport {
    let config = &shared.config;
    let from_command = |name: &String| config.commands.iter().any(|command| command.name == *name);
    let (command_labels, labels): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(name, _)| from_command(name));
    NodeReport {
        hostname: config.nodename.to_string(),
        // One that listens everywhere says so: auth sees where it comes from, and believes it no other address.
        addr: config.advertise.clone().unwrap_or_else(|| address.to_string()),
        public_addrs: config.public_addrs.clone(),
        labels: labels.into_iter().collect(),
        command_labels: command_labels.into_iter().collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Says whether the node can do its job. Without auth it can, for a while: locks and roles that are new do not arrive.
async fn watch_health(shared: &Shared, health: &ServiceHealth) {
    loop {
        shared.metrics.locks_stale.set(i64::from(!shared.locks_fresh()));
        match trouble(shared) {
            Some(reason) => health.degraded(reason),
            None => health.ready(),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn trouble(shared: &Shared) -> Option<String> {
    let refused = shared.refused_policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(reason) = refused {
        return Some(format!("the launcher does not decide by the newest policy: {reason}"));
    }
    let end = shared.host.credentials.borrow().valid_before();
    if let Some(end) = end.filter(|end| *end <= Timestamp::now()) {
        return Some(format!(
            "the host certificate expired at {end}, so clients refuse this node; see why auth is away"
        ));
    }
    if !shared.locks_fresh() {
        // Rounded, so that it reads the same until something changes.
        return Some(format!(
            "auth was not heard of for more than {}s; serving by policy revision {}, newer locks are not known",
            shared.config.limits.lock_age.as_secs(),
            shared.policy().revision
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{closed_above, helper};
    use rustix::process::Uid;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_keeps_the_helper_from_being_run_is_named() {
        let place = tempfile::tempdir().expect("a directory");
        let (closed, path) = (place.path().join("closed"), place.path().join("closed/bin/session-exec"));
        let mode = |path: &std::path::Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod")
        };
        mode(place.path(), 0o755);
        fs::create_dir_all(closed.join("bin")).expect("made");
        assert!(helper(&path).expect_err("missing").ends_with("install it beside postern"));
        fs::write(&path, "").expect("written");
        mode(&path, 0o644);
        assert!(helper(&path).expect_err("cannot be run").contains("chmod 755"));
        mode(&path, 0o755);
        assert_eq!((helper(&path), closed_above(&path)), (Ok(()), None));
        if !rustix::process::geteuid().is_root() {
            return eprintln!("SKIPPED: needs root to be somebody else");
        }
        mode(&closed, 0o700);
        let as_other = || {
            // Of this thread alone.
            rustix::thread::set_thread_res_uid(
                Uid::from_raw(65_534),
                Uid::from_raw(65_534),
                Uid::from_raw(65_534),
            )
            .expect("becomes somebody");
            helper(&path)
        };
        let refused = std::thread::scope(|scope| scope.spawn(as_other).join().expect("ends"));
        let refused = refused.expect_err("may not pass");
        let says = format!("may not pass {0}; run chmod o+x {0}", closed.display());
        assert!(refused.contains(&says) && !refused.contains("beside postern"), "{refused}");
    }
}
