//! The helper of one connection that opens sockets as its user: started when it is first needed, asked, and ended.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use access::Login;
use exec::sockets::{Ask, Given, MAX_AT_ONCE, Question, Refusal, ask, hear};
use exec::{Failure, FailureKind, Launch, SessionIo, SessionRequest, SpawnError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::ssh::server::OpenRefusal;

use super::Forbidden;
use crate::connection::Context;
use crate::decision::Admission;
use crate::launcher::{LaunchError, SessionHandle};
use crate::shared;

/// How long the helper may take to remove what it made.
const CLEAN_UP: Duration = Duration::from_secs(5);
/// Questions that are open at once; further ones wait. The rest of what the helper takes is for what it is told to let go.
const AT_ONCE: usize = MAX_AT_ONCE / 2;

/// What one connection has of a helper.
#[derive(Default)]
pub(crate) struct Sockets(Mutex<State>);

#[derive(Default)]
struct State {
    starting: Option<Starting>,
    is_over: bool,
}

/// A helper that was started, or that is being started; anybody can wait for it.
type Starting = Shared<BoxFuture<'static, Result<Arc<Helper>, Forbidden>>>;

/// The helper's yes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) given: Given,
    pub(super) descriptors: Vec<OwnedFd>,
    /// What to let go of, where something was made.
    pub(super) made: Option<Made>,
}

/// Something that the helper made for us. Dropping it has it removed.
#[derive(Debug)]
pub(crate) struct Made {
    helper: Arc<Helper>,
    id: Option<u32>,
}

#[derive(Debug)]
struct Helper {
    socket: AsyncFd<OwnedFd>,
    session: SessionHandle,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Result<Answer, Refusal>>>>,
    last: AtomicU32,
    places: Semaphore,
    /// Nobody answers any more.
    deaf: CancellationToken,
    /// It has ended.
    gone: CancellationToken,
}

impl Sockets {
    /// Asks the connection's helper, which is started if it does not run.
    pub(super) async fn ask(&self, context: &Context, wanted: Ask) -> Result<Answer, Forbidden> {
        let helper = self.starting(context)?.await?;
        helper.ask(wanted).await
    }

    /// Ends the helper and waits until it has cleaned up, but not for long. One that is only being started has nothing to
    /// clean up.
    pub(crate) async fn close(&self) {
        let runs = self.lock().starting.as_ref().is_some_and(|starting| starting.peek().is_some());
        if let Some(ending) = self.end().filter(|_| runs) {
            let _ = ending.await;
        }
    }

    fn starting(&self, context: &Context) -> Result<Starting, Forbidden> {
        let mut state = self.lock();
        if state.is_over {
            return Err(Forbidden::new("connection_over", "the connection is over"));
        }
        if let Some(starting) = state.starting.as_ref().filter(|starting| is_good(starting)) {
            return Ok(starting.clone());
        }
        let peer = context.peer.ip().to_canonical();
        let fresh = start(Arc::clone(&context.shared), context.admission(), peer).boxed().shared();
        // Whoever asks may go away meanwhile; a client that asks again and again must not start helper after helper.
        tokio::spawn(fresh.clone());
        state.starting = Some(fresh.clone());
        Ok(fresh)
    }

    fn end(&self) -> Option<JoinHandle<()>> {
        let mut state = self.lock();
        state.is_over = true;
        let starting = state.starting.take()?;
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(async move {
            if let Ok(helper) = starting.await {
                helper.hang_up();
                helper.gone.cancelled().await;
            }
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether to ask it, or wait for it, or believe its no. An account that cannot log in cannot in a second either; name
/// services that did not answer may.
fn is_good(starting: &Starting) -> bool {
    match starting.peek() {
        None => true,
        Some(Ok(helper)) => !helper.deaf.is_cancelled(),
        Some(Err(forbidden)) => ["account_unusable", "host_closed", "not_allowed"].contains(&forbidden.code),
    }
}

async fn start(
    shared: Arc<shared::Shared>,
    admission: Arc<Admission>,
    peer: IpAddr,
) -> Result<Arc<Helper>, Forbidden> {
    let login = admission.permit().login();
    let mut request = SessionRequest::new(login.as_str(), Launch::Sockets);
    request.limits = shared.config.session_limits.clone();
    request.peer = Some(peer);
    let launched = shared.launcher.launch(&admission, request).await;
    let launched = launched.map_err(|error| not_started(login, &error))?;
    let broken = |error: io::Error| Forbidden::new("node_error", error.to_string());
    let SessionIo::Sockets { socket } = launched.io else {
        return Err(broken(io::Error::other("the helper is of another kind")));
    };
    let helper = Arc::new(Helper {
        socket: watched(socket).map_err(broken)?,
        session: launched.session,
        waiting: Mutex::default(),
        last: AtomicU32::new(0),
        places: Semaphore::new(AT_ONCE),
        deaf: CancellationToken::new(),
        gone: CancellationToken::new(),
    });
    tracing::debug!(%login, pid = launched.started.pid, "a helper opens sockets");
    tokio::spawn(Arc::clone(&helper).serve());
    Ok(helper)
}

/// In the words in which forwards have always been refused.
fn not_started(login: &Login, error: &LaunchError) -> Forbidden {
    let forbidden = Forbidden::new(error.code(), error.to_string());
    let LaunchError::Spawn(SpawnError::Failed(Failure { kind, .. })) = error else {
        return Forbidden { refusal: OpenRefusal::ResourceShortage, ..forbidden };
    };
    match kind {
        FailureKind::UnknownAccount => {
            Forbidden::new("account_unusable", format!("account {login} does not exist on this host"))
        }
        FailureKind::LookupFailed | FailureKind::TimedOut => {
            Forbidden { code: "account_lookup_failed", ..forbidden }
        }
        _ => forbidden,
    }
}

impl Helper {
    async fn ask(self: &Arc<Self>, wanted: Ask) -> Result<Answer, Forbidden> {
        let died = || Forbidden::new("helper_died", "what opens sockets for this connection has ended");
        let _place = self.places.acquire().await.map_err(|_| died())?;
        let (sender, receiver) = oneshot::channel();
        let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.waiting().insert(id, sender);
        let _waiting = Waiting { helper: self, id };
        let question = Question { id, ask: wanted };
        let asked = async {
            self.socket.async_io(Interest::WRITABLE, |socket| ask(socket, &question)).await.ok()?;
            receiver.await.ok()
        };
        let answer = tokio::select! {
            answer = asked => answer,
            () = self.deaf.cancelled() => None,
        };
        Ok(answer.ok_or_else(died)??)
    }

    /// Hands on replies until the helper ends; then sees it out.
    async fn serve(self: Arc<Self>) {
        loop {
            let heard = self.socket.async_io(Interest::READABLE, |socket| hear(socket)).await;
            let (reply, descriptors) = match heard {
                Ok(Some(heard)) => heard,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "what opens sockets for a connection talks nonsense; ending it");
                    break;
                }
            };
            let made = match &reply.outcome {
                Ok(Given::Listening { .. } | Given::Agent { .. } | Given::Display { .. }) => {
                    Some(Made { helper: Arc::clone(&self), id: Some(reply.id) })
                }
                Ok(Given::Connected | Given::Released) | Err(_) => None,
            };
            let outcome = reply.outcome.map(|given| Answer { given, descriptors, made });
            let waiting = self.waiting().remove(&reply.id);
            if let Some(waiting) = waiting {
                // Nobody may be there to take it; then what was made is released as it is dropped.
                let _ = waiting.send(outcome);
            }
        }
        self.hang_up();
        let _ = tokio::time::timeout(CLEAN_UP, self.session.exited()).await;
        self.gone.cancel();
    }

    /// Nothing more is asked. It removes what it made, and ends.
    fn hang_up(&self) {
        self.deaf.cancel();
        let _ = rustix::net::shutdown(self.socket.get_ref(), rustix::net::Shutdown::Both);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Result<Answer, Refusal>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a reply; gone when this is.
struct Waiting<'h> {
    helper: &'h Helper,
    id: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.helper.waiting().remove(&self.id);
    }
}

impl Answer {
    /// Its one descriptor.
    pub(super) fn only(mut self) -> io::Result<OwnedFd> {
        match (self.descriptors.pop(), self.descriptors.is_empty()) {
            (Some(descriptor), true) => Ok(descriptor),
            _ => Err(io::Error::other("the node is out of descriptors")),
        }
    }
}

impl Made {
    /// Has it removed, and returns when it is.
    pub(super) async fn release(mut self) {
        if let Some(id) = self.id.take() {
            let _ = self.helper.ask(Ask::Release(id)).await;
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some(made) = self.id else { return };
        let id = self.helper.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // Where that cannot be said now, it goes at the end of the connection.
        let _ = ask(self.helper.socket.get_ref(), &Question { id, ask: Ask::Release(made) });
    }
}

#[expect(
    deprecated,
    reason = "the other constructor is unsafe for types whose descriptor can change; an OwnedFd's cannot"
)]
fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, Interest::READABLE | Interest::WRITABLE)
}
