//! Through which every process of a session is started, signalled and ended. Nothing else in this crate starts one on
//! behalf of a user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use exec::{Exit, SessionIo, SessionRequest, SessionSignal, SpawnError, Started};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::decision::Admission;

/// How long the host's name services may take to find the account.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts processes for whoever was admitted.
#[derive(Debug)]
pub(crate) struct Launcher {
    helper: PathBuf,
    /// Launches must not take all threads that the runtime has for what blocks: the end of a locked session needs one
    /// too. See [`crate::Limits::launches`].
    places: Arc<Semaphore>,
    wait: Duration,
}

/// What runs.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The node's ends of its input and output.
    pub(crate) io: SessionIo,
    /// What it said of itself.
    pub(crate) started: Started,
    /// To steer it; dropping it ends it.
    pub(crate) session: SessionHandle,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// Too many sessions are being started.
    #[error("this node is starting too many sessions; try again later")]
    Busy,
    /// The helper could not be started, or said no.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The node could not do its part.
    #[error("the node failed while starting the session")]
    Node,
}

/// The processes of one session. All of its methods can be called at the same time.
///
/// Dropping it while the first process runs kills all of them, unless it was released; afterwards it only lets go of what
/// was left in the background.
#[derive(Debug)]
pub(crate) struct SessionHandle {
    session: Arc<exec::Session>,
    pidfd: AsyncFd<OwnedFd>,
    uid: u32,
}

impl Launcher {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            helper: config.session_exec.clone(),
            places: Arc::new(Semaphore::new(config.limits.launches)),
            wait: config.limits.launch_wait,
        }
    }

    /// Starts what is asked for as the login of this admission.
    pub(crate) async fn launch(
        &self,
        admission: &Admission,
        request: SessionRequest,
    ) -> Result<Launched, LaunchError> {
        if request.login != admission.permit().login().as_str() {
            // Whoever asks took the login from somewhere else than from the permit.
            return Err(LaunchError::Node);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(self.wait, place).await;
        let Ok(Ok(place)) = place else { return Err(LaunchError::Busy) };
        let helper = self.helper.clone();
        let start = move || {
            let _place = place;
            exec::spawn(&helper, &request)?.started(PATIENCE)
        };
        let started = tokio::task::spawn_blocking(start).await;
        let exec::Running { session, io, started } = started.map_err(|_| LaunchError::Node)??;
        let watched = session.as_fd().try_clone_to_owned().and_then(watched);
        let pidfd = watched.map_err(|source| SpawnError::Io { doing: "watch the session", source })?;
        let session = SessionHandle { session: Arc::new(session), pidfd, uid: started.uid };
        Ok(Launched { io, started, session })
    }
}

impl LaunchError {
    /// Stable; for audit and metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Busy => "node_busy",
            Self::Spawn(SpawnError::Failed(failure)) => failure.kind.name(),
            Self::Spawn(SpawnError::Request(_)) => "bad_request",
            Self::Spawn(SpawnError::Io { .. }) | Self::Node => "node_error",
        }
    }
}

impl SessionHandle {
    /// Waits until the first process has ended. Cancel-safe, and can be asked again.
    pub(crate) async fn exited(&self) -> Exit {
        loop {
            match self.session.try_wait() {
                Ok(Some(exit)) => return exit,
                Ok(None) => {}
                Err(_) => return Exit::FAILED,
            }
            match self.pidfd.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return Exit::FAILED,
            }
        }
    }

    /// Sends a signal on behalf of the user: to those of its processes that the user could signal.
    pub(crate) async fn signal(&self, signal: SessionSignal) {
        let uid = self.uid;
        self.act(move |session| session.signal(signal, uid)).await;
    }

    /// Kills all of its processes.
    pub(crate) async fn kill(&self) {
        self.act(exec::Session::kill).await;
    }

    /// Lets it go on, whatever becomes of this value: nobody is there any more for whom it ran, and that is for its
    /// processes to notice.
    pub(crate) fn release(self: &Arc<Self>) {
        self.session.release();
        let kept = Arc::clone(self);
        // Until it can be reaped.
        tokio::spawn(async move { kept.exited().await });
    }

    /// Does what reads the process table where that holds nobody up.
    async fn act(&self, act: impl FnOnce(&exec::Session) + Send + 'static) {
        let session = Arc::clone(&self.session);
        let _ = tokio::task::spawn_blocking(move || act(&session)).await;
    }
}

#[expect(
    deprecated,
    reason = "the other constructor is unsafe for types whose descriptor can change; an OwnedFd's cannot"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
