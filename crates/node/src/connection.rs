//! One connection after login: takes what the client asks for, under the eyes of a monitor that may end it.

mod earlier;
mod gatekeeper;
mod monitor;

pub(crate) use gatekeeper::{Admitted, Gatekeeper};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use earlier::Earlier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transport::ssh::server::{Connection, Event as Wish, Handle, OpenRefusal, OpenRequest, Reply};

use crate::audit::{CLIENT_DISCONNECT, Event, Kind, SESSION_DATA, SESSION_REJECTED};
use crate::decision::Admission;
use crate::forward::{self, Answer, At, Sockets, Target};
use crate::metrics::Reason;
use crate::session;
use crate::shared::Shared;

/// How long channels may take to say their last words to a client that is cut off.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long the processes of a client that went away may take to end.
const WIND_UP: Duration = Duration::from_secs(10);

/// What the channels of one connection have in common.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    /// As roles and locks were when they last changed; the monitor replaces it.
    admission: RwLock<Arc<Admission>>,
    pub(crate) handle: Handle,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) cut: CutSwitch,
    /// Opens sockets as the user.
    pub(crate) sockets: Sockets,
    sessions: AtomicU32,
}

/// Why the node ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Stable.
    pub(crate) code: &'static str,
    /// For the user.
    pub(crate) words: String,
}

/// Tells the channels of a connection that the node ends it.
#[derive(Debug, Default)]
pub(crate) struct CutSwitch {
    thrown: CancellationToken,
    words: OnceLock<String>,
}

impl CutSwitch {
    /// Returns the words for the user when the connection is cut.
    pub(crate) async fn thrown(&self) -> &str {
        self.thrown.cancelled().await;
        self.words.get().map_or("", String::as_str)
    }

    fn throw(&self, words: &str) {
        let _ = self.words.set(words.to_owned());
        self.thrown.cancel();
    }
}

impl Context {
    /// What holds for this connection now. Ask again for every wish: roles can change under an open connection.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn renew(&self, admission: Admission) {
        *self.admission.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(admission);
    }

    /// An event that says who did it, from where and over what.
    pub(crate) fn event(&self, kind: Kind) -> Event {
        let admission = self.admission();
        gatekeeper::by(Event::new(kind), &admission)
            .with("login", admission.permit().login().as_str())
            .between(self.peer, self.local)
    }
}

/// Serves until either side ends it.
pub(crate) async fn run(
    connection: Connection<Admitted>,
    peer: SocketAddr,
    local: SocketAddr,
    shared: Arc<Shared>,
) {
    let Connection { grant: Admitted { admission, slot: _slot }, negotiated, handle, mut events } =
        connection;
    let context = Arc::new(Context {
        shared: Arc::clone(&shared),
        admission: RwLock::new(Arc::new(admission)),
        handle,
        peer,
        local,
        cut: CutSwitch::default(),
        sockets: Sockets::default(),
        sessions: AtomicU32::new(0),
    });
    shared.metrics.log_in(negotiated.key_exchange);
    tell_login(&context);
    shared.metrics.connections.inc();
    let mut channels = JoinSet::new();
    let mut listeners = forward::Listeners::new(Arc::clone(&context));
    let mut openings = JoinSet::new();
    let mut earlier = Earlier::default();
    let cut = {
        let verdict = monitor::verdict(&context);
        tokio::pin!(verdict);
        let cut = loop {
            tokio::select! {
                wish = events.next() => match wish {
                    Some(wish) => {
                        take(wish, &context, &mut channels, &mut openings, &mut listeners, &mut earlier);
                    }
                    None => break None,
                },
                cut = &mut verdict => break Some(cut),
                Some(_) = channels.join_next() => {}
                Some(opened) = openings.join_next() => listeners.keep(opened.ok()),
                () = shared.draining.cancelled(), if channels.is_empty() => break Some(monitor::stopping()),
            }
        };
        drop((listeners, openings));
        match cut {
            Some(cut) => Some(cut),
            // What takes the client away may be what takes its right away: a proxy cuts by the same lock.
            None => tokio::select! {
                () = wind_up(&context, &mut channels) => None,
                cut = &mut verdict => Some(cut),
            },
        }
    };
    finish(&context, cut, channels).await;
    shared.metrics.connections.dec();
}

/// For whoever has nothing but this host's log.
fn tell_login(context: &Context) {
    let admission = context.admission();
    let (user, permit) = (admission.user(), admission.permit());
    let impersonator = user.impersonator.as_ref().map(tracing::field::display);
    tracing::info!(peer = %context.peer, login = %permit.login(), user = %user.name, impersonator, "logged in");
}

/// Begins with what the client wants. Must not wait for anything, because nobody looks at locks meanwhile.
fn take(
    wish: Wish,
    context: &Arc<Context>,
    channels: &mut JoinSet<()>,
    openings: &mut JoinSet<forward::Opening>,
    listeners: &mut forward::Listeners,
    earlier: &mut Earlier,
) {
    match wish {
        Wish::Session(open) => open_session(open, context, channels, earlier),
        Wish::DirectTcpip { host, port, origin, open } => {
            let target = Target::Tcp { host, port, origin };
            let (made, forward) = (earlier.made(), forward::direct(Arc::clone(context), target, open));
            channels.spawn(async move {
                made.await;
                forward.await;
            });
        }
        Wish::DirectStreamlocal { path, open } => {
            let (made, target) = (earlier.made(), Target::Unix(path));
            let forward = forward::direct(Arc::clone(context), target, open);
            channels.spawn(async move {
                made.await;
                forward.await;
            });
        }
        Wish::TcpipForward { address, port, reply } => {
            listen(At::Tcp(address, port), Answer::Tcp(reply), context, openings, listeners, earlier);
        }
        Wish::StreamlocalForward { path, reply } => {
            listen(At::Unix(path), Answer::Unix(reply), context, openings, listeners, earlier);
        }
        Wish::CancelTcpipForward { address, port, reply } => {
            cancel(&At::Tcp(address, port), reply, channels, listeners);
        }
        Wish::CancelStreamlocalForward { path, reply } => {
            cancel(&At::Unix(path), reply, channels, listeners);
        }
    }
}

fn listen(
    at: At,
    answer: Answer,
    context: &Arc<Context>,
    openings: &mut JoinSet<forward::Opening>,
    listeners: &forward::Listeners,
    earlier: &mut Earlier,
) {
    let taken = listeners.len() + openings.len();
    let (making, opening) =
        (earlier.one_more(), forward::open(Arc::clone(context), at, taken, listeners.ending(), answer));
    openings.spawn(async move {
        let _making = making;
        opening.await
    });
}

/// Ends a listener of this very connection; there is no way to name another's.
fn cancel(at: &At, reply: Reply, channels: &mut JoinSet<()>, listeners: &mut forward::Listeners) {
    match listeners.end(at) {
        Some(ending) => drop(channels.spawn(async move {
            ending.await;
            reply.accept();
        })),
        None => reply.refuse(),
    }
}

fn open_session(open: OpenRequest, context: &Arc<Context>, channels: &mut JoinSet<()>, earlier: &Earlier) {
    let admission = context.admission();
    let limit = admission.permit().options().max_sessions();
    let open_now = context.sessions.load(Ordering::Acquire);
    if let Some(limit) = limit.filter(|limit| open_now >= *limit) {
        let user = &admission.user().name;
        context.shared.metrics.refuse("max_sessions");
        let event = context.event(SESSION_REJECTED);
        context.shared.emit(event.with("reason", "max_sessions limit reached").with("max", limit));
        let text = format!("too many session channels for user {:?} (max={limit})", user.as_str());
        channels.spawn(async move { open.reject(OpenRefusal::Prohibited, &text).await });
        return;
    }
    context.sessions.fetch_add(1, Ordering::AcqRel);
    context.shared.metrics.sessions.inc();
    let (context, made) = (Arc::clone(context), earlier.made());
    channels.spawn(async move {
        let _counted = Counted(Arc::clone(&context));
        made.await;
        session::run(open.accept().await, context).await;
    });
}

/// One session channel, until it is dropped.
struct Counted(Arc<Context>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
        self.0.shared.metrics.sessions.dec();
    }
}

/// Ends what is left, in the order in which the client can follow it.
async fn finish(context: &Context, cut: Option<Cut>, mut channels: JoinSet<()>) {
    let Shared { metrics, .. } = &*context.shared;
    if let Some(Cut { code, words }) = &cut {
        tracing::info!(peer = %context.peer, user = %context.admission().user().name, code, words, "cutting a connection");
        metrics.cut.get_or_create(&Reason { reason: code }).inc();
        context.cut.throw(words);
        let _ = tokio::time::timeout(LAST_WORDS, all_of(&mut channels)).await;
        context.handle.disconnect(words).await;
        context
            .shared
            .emit(context.event(CLIENT_DISCONNECT).with("reason", words.as_str()).with("denial", *code));
    }
    wind_up(context, &mut channels).await;
    channels.shutdown().await;
    context.sockets.close().await;
    let traffic = context.handle.traffic();
    metrics.sent.inc_by(traffic.sent);
    metrics.received.inc_by(traffic.received);
    context.shared.emit(context.event(SESSION_DATA).with("tx", traffic.sent).with("rx", traffic.received));
}

/// Lets channels end by themselves.
async fn wind_up(context: &Context, channels: &mut JoinSet<()>) {
    if tokio::time::timeout(WIND_UP, all_of(channels)).await.is_err() {
        tracing::warn!(peer = %context.peer, "channels of an ended connection did not end; dropping them");
    }
}

async fn all_of(channels: &mut JoinSet<()>) {
    while channels.join_next().await.is_some() {}
}
