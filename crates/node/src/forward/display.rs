//! A client's display for one session (`ssh -X`): a port that programs of the session find, each connection to which is
//! a channel to the client.

mod cookie;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exec::sockets::{Ask, Given, NewDisplay};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use transport::ssh::relay;
use transport::ssh::server::{Display, Origin};
use uuid::Uuid;

use super::descriptor::{Listener, Stream};
use super::sockets::Made;
use super::{Context, Forbidden};
use crate::audit::{X11, X11_FAILED};
use cookie::{Cookie, Greeting};

/// How long a program may take to say how it authenticates.
const GREETING: Duration = Duration::from_secs(30);
/// Connections that have not said it yet; anybody on this host can make them.
const STRANGERS: usize = 32;

/// A session's way to its client's display. Dropping it closes the port and removes the entry in `.Xauthority`.
#[derive(Debug)]
pub(crate) struct DisplaySocket {
    name: String,
    _serving: AbortOnDropHandle<()>,
    _made: Option<Made>,
}

impl DisplaySocket {
    /// For `DISPLAY`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What the connections to one display have in common.
struct Serving {
    context: Arc<Context>,
    session: Uuid,
    cookie: Cookie,
    /// For one connection only.
    single: bool,
    /// There was one.
    used: CancellationToken,
    /// A false cookie was reported; once is enough, because anybody on this host can come with one.
    reported: AtomicBool,
}

/// Makes the display for a session, or says no; either is recorded.
pub(crate) async fn offer(context: &Arc<Context>, session: Uuid, display: Display) -> Option<DisplaySocket> {
    match listen(context, session, display).await {
        Ok(socket) => {
            let event = context.event(X11).with("sid", session.to_string());
            context.shared.emit(event.with("display", socket.name()).succeeded());
            Some(socket)
        }
        Err(forbidden) => {
            report(context, session, &forbidden);
            context.handle.remark(&forbidden.words);
            None
        }
    }
}

fn report(context: &Context, session: Uuid, forbidden: &Forbidden) {
    context.shared.metrics.refuse(forbidden.code);
    let event = context.event(X11_FAILED).with("sid", session.to_string());
    context.shared.emit(event.denied(forbidden.code, &forbidden.words, None));
}

fn allowed(context: &Context) -> Result<(), Forbidden> {
    let admission = context.admission();
    let user = admission.user();
    if admission.permit().options().x11_forwarding() && user.permits.x11_forwarding {
        return Ok(());
    }
    let words = format!("X11 forwarding is not allowed for user {:?}", user.name.as_str());
    Err(Forbidden::new("x11_not_allowed", words))
}

async fn listen(context: &Arc<Context>, session: Uuid, display: Display) -> Result<DisplaySocket, Forbidden> {
    let Some(displays) = context.shared.config.x11 else {
        return Err(Forbidden::new("x11_off", "X11 forwarding is not enabled on this node"));
    };
    allowed(context)?;
    let Display { single, protocol, cookie, screen } = display;
    let (offset, most) = (displays.offset, displays.most);
    let wanted = NewDisplay { protocol, cookie, screen, offset, most };
    let bad =
        || Forbidden::new("bad_x11_request", "the client's X11 request is not one that xauth could take");
    let cookie =
        Cookie::new(&wanted.protocol, &wanted.cookie).filter(|_| wanted.is_plain()).ok_or_else(bad)?;
    let answer = context.sockets.ask(context, Ask::Display(wanted)).await?;
    let Given::Display { name } = answer.given else {
        return Err(Forbidden::new("helper_died", "the helper answers something else"));
    };
    let listeners: Result<Vec<_>, _> = answer.descriptors.into_iter().map(Listener::new).collect();
    let listeners = listeners.map_err(|error| Forbidden::new("no_display", error.to_string()))?;
    let serving = Serving {
        context: Arc::clone(context),
        session,
        cookie,
        single,
        used: CancellationToken::new(),
        reported: AtomicBool::new(false),
    };
    let work = tokio::spawn(Arc::new(serving).serve(listeners));
    Ok(DisplaySocket { name, _serving: AbortOnDropHandle::new(work), _made: answer.made })
}

impl Serving {
    async fn serve(self: Arc<Self>, listeners: Vec<Listener>) {
        let mut families = JoinSet::new();
        for listener in listeners {
            families.spawn(Arc::clone(&self).accept(listener));
        }
        while families.join_next().await.is_some() {}
    }

    async fn accept(self: Arc<Self>, listener: Listener) {
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        let strangers = Arc::new(tokio::sync::Semaphore::new(STRANGERS));
        loop {
            let accepted = tokio::select! {
                accepted = next(listener.as_ref()) => accepted,
                () = self.used.cancelled(), if self.single && listener.is_some() => {
                    listener = None;
                    continue;
                }
                ended = connections.join_next(), if !connections.is_empty() || listener.is_none() => match ended {
                    Some(_) => continue,
                    None => return,
                },
            };
            match accepted {
                Ok((stream, Some(peer)))
                    if connections.len() < self.context.shared.config.limits.channels =>
                {
                    let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else { continue };
                    connections.spawn(Arc::clone(&self).forward(stream, peer, stranger));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to a display");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn forward(
        self: Arc<Self>,
        mut stream: Stream,
        peer: SocketAddr,
        stranger: tokio::sync::OwnedSemaphorePermit,
    ) {
        let greeting = tokio::time::timeout(GREETING, Greeting::read(&mut stream)).await;
        let Ok(Ok(greeting)) = greeting else { return };
        drop(stranger);
        if !greeting.knows(&self.cookie) {
            let _ = stream.write_all(&greeting.refusal()).await;
            let _ = stream.shutdown().await;
            if !self.reported.swap(true, Ordering::AcqRel) {
                let words = "a program came to the display with a false cookie";
                report(&self.context, self.session, &Forbidden::new("x11_false_cookie", words));
            }
            return;
        }
        // The session may be older than the roles of this moment.
        if let Err(forbidden) = allowed(&self.context) {
            return report(&self.context, self.session, &forbidden);
        }
        if self.single {
            if self.used.is_cancelled() {
                return;
            }
            self.used.cancel();
        }
        let origin = Origin { address: peer.ip().to_string(), port: u32::from(peer.port()) };
        let Ok((reader, writer)) = self.context.handle.open_x11(origin).await else { return };
        if writer.data(greeting.into_bytes()).await.is_ok() {
            relay(reader, writer, stream).await;
        }
    }
}

/// The next connection; where nothing is listened to any more, none for ever.
async fn next(listener: Option<&Listener>) -> std::io::Result<(Stream, Option<SocketAddr>)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
