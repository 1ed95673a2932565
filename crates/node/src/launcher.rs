//! Through which everything with privilege is asked for: the host key's signature, the judgement over a login, and every
//! process of a session. Nothing else in this crate starts one on behalf of a user.

mod line;
mod places;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use access::Labels;
use exec::{Exit, Failure, FailureKind, SessionIo, SessionRequest, SessionSignal, SpawnError, Started};
use identity::TrustBundle;
use identity::key::PublicKey;
use identity::policy::Signed;
use identity::ssh::SshCertificate;
use launcher::client;
use launcher::protocol::{Answer, Denied, Request, SessionId};
use transport::ssh::server::Proof;
use transport::ssh::{CredentialError, ExchangeRecord, HostCredentials, HostSigner, Signing};

use crate::config::Limits;
use crate::decision::Admission;
use line::{Ending, Line, Passed};
use places::Places;

pub use client::StartError as LauncherError;
pub use launcher::protocol::Start as LauncherStart;

/// How long a start may take; the launcher gives up before.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the launcher may take for what it answers at once.
const PROMPT: Duration = Duration::from_secs(10);

/// The process with privilege.
#[derive(Debug)]
pub struct LauncherProcess(client::Launcher);

impl LauncherProcess {
    /// Starts the program at `path`. Before anything of the node, and while this process may still do everything.
    pub fn start(path: &Path, start: LauncherStart) -> Result<Self, LauncherError> {
        client::Launcher::start(path, start).map(Self)
    }
}

/// Asks the process with privilege.
#[derive(Debug, Clone)]
pub struct Launcher {
    line: Arc<Line>,
    public_key: PublicKey,
}

impl Launcher {
    /// Talks to a launcher from now on; in a runtime.
    pub fn new(process: LauncherProcess) -> io::Result<Self> {
        let LauncherProcess(client::Launcher { socket, public_key, mut process }) = process;
        let public_key = PublicKey::from_spki_der(&public_key).map_err(io::Error::other)?;
        let line = Line::open(socket)?;
        // So that nothing is left of it in the process table.
        std::thread::Builder::new()
            .name("launcher".into())
            .stack_size(64 << 10)
            .spawn(move || process.wait())?;
        Ok(Self { line, public_key })
    }

    /// The host key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What clients are shown with this certificate over the host key.
    pub fn shows(&self, certificate: SshCertificate) -> Result<HostCredentials, CredentialError> {
        let key =
            self.public_key.ssh().to_bytes().map_err(|error| CredentialError::Key(error.to_string()))?;
        HostCredentials::elsewhere(&key, certificate, Arc::new(Signer(Arc::clone(&self.line))))
    }

    /// Returns when the launcher is gone. Nothing can be served then.
    pub async fn gone(&self) {
        self.line.gone().await;
    }

    /// The cluster's authorities as this host first came to know them. A launcher that knows some keeps to those.
    pub(crate) async fn trust(&self, trust: &TrustBundle) -> Result<(), String> {
        let bundle = serde_json::to_vec(trust).map_err(|error| error.to_string())?;
        self.hand_over(&Request::Trust(bundle)).await
    }

    /// A policy to decide by.
    pub(crate) async fn policy(&self, signed: &Signed) -> Result<(), String> {
        let Signed { payload, signature, .. } = signed;
        self.hand_over(&Request::Policy { payload: payload.clone(), signature: signature.clone() }).await
    }

    async fn hand_over(&self, request: &Request) -> Result<(), String> {
        match self.line.hand_over(request).await {
            Some(Answer::Policy(outcome)) => outcome.map(drop),
            _ => Err(GONE.to_owned()),
        }
    }

    /// What the labels are now.
    pub(crate) fn labels(&self, labels: &Labels) {
        self.line.post(&Request::Labels(labels.0.clone()), Vec::new());
    }

    /// Whether somebody with this proof may come in.
    pub(crate) async fn admit(
        &self,
        proof: &Proof,
        connection: &Arc<OwnedFd>,
        locks_fresh: bool,
    ) -> Result<Ticket, Denied> {
        let claim = proof.claim();
        let request = |ask| Request::Authenticate {
            ask,
            session: proof.session_id().to_vec(),
            login: claim.login.to_owned(),
            algorithm: claim.algorithm,
            blob: claim.blob.to_vec(),
            is_host_bound: claim.is_host_bound,
            signature: claim.signature.to_vec(),
            locks_fresh,
        };
        let asking = self.line.ask(request, vec![Passed::Shared(Arc::clone(connection))]);
        match tokio::time::timeout(PROMPT, asking).await {
            Ok(Some(Answer::Judged(_, outcome))) => outcome.map(|admission| {
                let (connection, line) = (Arc::clone(connection), Arc::clone(&self.line));
                Ticket(Arc::new(Held { admission, connection, line }))
            }),
            _ => Err(Denied::new("node_error", GONE)),
        }
    }
}

const GONE: &str = "the launcher does not answer";

/// What somebody who was admitted is known by. The launcher forgets it when the last copy is gone.
#[derive(Debug, Clone)]
pub(crate) struct Ticket(Arc<Held>);

#[derive(Debug)]
struct Held {
    admission: u64,
    /// Of the client, by which the launcher knows it again.
    connection: Arc<OwnedFd>,
    line: Arc<Line>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.line.post(&Request::Close(self.admission), Vec::new());
    }
}

/// Has key exchanges signed.
struct Signer(Arc<Line>);

impl HostSigner for Signer {
    fn sign(&self, exchange: Box<ExchangeRecord>) -> Signing {
        let line = Arc::clone(&self.0);
        Box::pin(async move {
            let request = |ask| Request::Sign {
                ask,
                key_exchange: exchange.key_exchange(),
                is_first: exchange.is_first(),
                hashed: exchange.hashed().to_vec(),
            };
            match tokio::time::timeout(PROMPT, line.ask(request, Vec::new())).await {
                Ok(Some(Answer::Signed(_, outcome))) => {
                    outcome.map_err(|reason| format!("the launcher does not sign: {reason}"))
                }
                _ => Err(GONE.to_owned()),
            }
        })
    }

    fn forget(&self, session: Vec<u8>) {
        self.0.post(&Request::Forget(session), Vec::new());
    }
}

/// Starts processes, not too many at once.
pub(crate) struct Launches {
    launcher: Launcher,
    /// Whether locks are as new as strict locking wants them.
    locks_fresh: Box<dyn Fn() -> bool + Send + Sync>,
    /// See [`crate::Limits::launches`].
    places: Places,
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
    /// The node could not do its part, or the helper said no.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The launcher said no.
    #[error("{reason}")]
    Denied {
        /// Stable.
        code: &'static str,
        /// For people.
        reason: String,
    },
}

/// The processes of one session. All of its methods can be called at the same time.
///
/// Dropping it while the first process runs kills all of them, unless it was released; afterwards it only lets go of what
/// was left in the background.
#[derive(Debug)]
pub(crate) struct SessionHandle {
    id: SessionId,
    line: Arc<Line>,
    /// Of the client.
    connection: Arc<OwnedFd>,
    ending: Ending,
}

impl Launches {
    pub(crate) fn new(
        launcher: Launcher,
        limits: &Limits,
        locks_fresh: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let (places, wait) = (Places::new(limits.launches, limits.launches_per_login), limits.launch_wait);
        Self { launcher, places, wait, locks_fresh: Box::new(locks_fresh) }
    }

    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Starts what is asked for on behalf of this admission.
    pub(crate) async fn launch(
        &self,
        admission: &Admission,
        request: SessionRequest,
    ) -> Result<Launched, LaunchError> {
        // Until it is heard whether it has started.
        let place = self.places.take(admission.permit().login());
        let Ok(Some(_place)) = tokio::time::timeout(self.wait, place).await else {
            return Err(LaunchError::Busy);
        };
        let bytes = request.encode().map_err(SpawnError::from)?;
        let (io, theirs) = SessionIo::open(&request)?;
        let Ticket(held) = admission.ticket();
        let connection = Passed::Shared(Arc::clone(&held.connection));
        let descriptors = std::iter::once(connection).chain(theirs.into_iter().map(Passed::Own)).collect();
        let (admission, locks_fresh) = (held.admission, (self.locks_fresh)());
        let line = &self.launcher.line;
        let asking =
            line.ask(|ask| Request::Launch { ask, admission, locks_fresh, request: bytes }, descriptors);
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let running = match answer {
            Ok(Some(Answer::Launched(_, outcome))) => outcome.map_err(LaunchError::of)?,
            _ => return Err(LaunchError::of(Denied::new("node_error", GONE))),
        };
        let ending = line.ending(running.session);
        let ending = ending.ok_or_else(|| LaunchError::of(Denied::new("node_error", GONE)))?;
        let connection = Arc::clone(&held.connection);
        let session = SessionHandle { id: running.session, line: Arc::clone(line), connection, ending };
        let started = Started { pid: running.pid, uid: running.uid, group: None };
        Ok(Launched { io, started, session })
    }
}

impl LaunchError {
    fn of(denied: Denied) -> Self {
        let Denied { code, reason } = denied;
        if let Some(kind) = FailureKind::from_name(&code) {
            return Self::Spawn(SpawnError::Failed(Failure { kind, detail: reason }));
        }
        match CODES.iter().find(|known| **known == code) {
            Some(code) => Self::Denied { code, reason },
            None => Self::Denied { code: "not_permitted", reason: format!("{reason} ({code})") },
        }
    }

    /// Stable; for audit and metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Busy => "node_busy",
            Self::Denied { code, .. } => code,
            Self::Spawn(SpawnError::Failed(failure)) => failure.kind.name(),
            Self::Spawn(SpawnError::Request(_)) => "bad_request",
            Self::Spawn(SpawnError::Io { .. }) => "node_error",
        }
    }
}

/// What the launcher itself says no by; other codes are those of denials.
const CODES: [&str; 6] = [
    "node_busy",
    "node_error",
    "no_connection",
    "certificate_expired",
    "file_copy_not_allowed",
    "forwarding_not_allowed",
];

impl SessionHandle {
    /// Waits until the first process has ended. Cancel-safe, and can be asked again.
    pub(crate) async fn exited(&self) -> Exit {
        let mut ending = self.ending.clone();
        let exit = ending.wait_for(Option::is_some).await;
        exit.ok().and_then(|exit| *exit).unwrap_or(Exit::FAILED)
    }

    /// Sends a signal on behalf of the user: to those of its processes that the user could signal. Says whether that could be
    /// done now: nothing else ever waits behind signals.
    #[must_use]
    pub(crate) fn signal(&self, signal: SessionSignal) -> bool {
        let is_free = !self.line.is_busy();
        if is_free {
            self.line.post(&Request::Signal(self.id, signal.name().to_owned()), Vec::new());
        }
        is_free
    }

    /// Kills all of its processes.
    pub(crate) fn kill(&self) {
        self.line.post(&Request::Kill(self.id), Vec::new());
    }

    /// Lets it go on, whatever becomes of this value: nobody is there any more for whom it ran, and that is for its
    /// processes to notice. The client's connection has to be over; the launcher looks, and ends it otherwise.
    pub(crate) fn release(&self) {
        // Of a client that has only fallen silent the kernel does not know yet.
        let _ = rustix::net::shutdown(&self.connection, rustix::net::Shutdown::Both);
        self.line.post(&Request::Abandon(self.id), vec![Passed::Shared(Arc::clone(&self.connection))]);
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.line.forget(self.id);
        self.line.post(&Request::Release(self.id), Vec::new());
    }
}
