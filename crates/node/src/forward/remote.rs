//! Listeners that a client has on this host (`ssh -R`): bound to its connection; ports on the loopback interface only.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use exec::sockets::{Ask, Given, Refusal, RefusalKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::task::AbortOnDropHandle;
use transport::ssh::relay;
use transport::ssh::server::{ForwardReply, Origin, Reply};

use super::descriptor::{Listener, Stream};
use super::sockets::Made;
use super::{Direction, Forbidden, allowed, beside, is_host, is_path, port_event, report_refused};
use crate::audit::{PORT, PORT_STOP};
use crate::connection::Context;

/// How long opening a listener may take. The client waits for the answer, and those to its later requests wait behind it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where a client wants a listener; it is how the client knows what a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// An address and a port, as the client wrote them.
    Tcp(String, u16),
    /// A path, as the client wrote it.
    Unix(Vec<u8>),
}

/// How a client is told.
#[derive(Debug)]
pub(crate) enum Answer {
    Tcp(ForwardReply),
    Unix(Reply),
}

/// All listeners of one connection; they end with this value.
pub(crate) struct Listeners {
    context: Arc<Context>,
    open: Vec<Serving>,
    ending: Ending,
}

/// The end of all listeners that were to end so far. A client that cancels one and asks for it anew does not wait in
/// between, so the new one does.
pub(crate) type Ending = Shared<BoxFuture<'static, ()>>;

/// A listener that is served.
struct Serving {
    at: At,
    tasks: Vec<AbortOnDropHandle<()>>,
    made: Option<Made>,
}

/// What became of a wish for a listener.
pub(crate) struct Opening(Option<Opened>);

struct Opened {
    at: At,
    listeners: Vec<Listener>,
    made: Option<Made>,
    answer: Answer,
}

impl Listeners {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, open: Vec::new(), ending: std::future::ready(()).boxed().shared() }
    }

    /// What new listeners have to wait for.
    pub(crate) fn ending(&self) -> Ending {
        self.ending.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Serves a listener that was opened, and tells the client.
    pub(crate) fn keep(&mut self, opening: Option<Opening>) {
        let Some(Opening(Some(Opened { at, listeners, made, answer }))) = opening else { return };
        let serve = |listener| {
            AbortOnDropHandle::new(tokio::spawn(serve(Arc::clone(&self.context), listener, at.clone())))
        };
        let tasks = listeners.into_iter().map(serve).collect();
        answer.accept(&at);
        self.open.push(Serving { at, tasks, made });
    }

    /// Ends a listener of this connection, if there is such a one.
    pub(crate) fn end(&mut self, at: &At) -> Option<Ending> {
        let nth = self.open.iter().position(|serving| serving.at == *at)?;
        let serving = self.open.swap_remove(nth);
        let before = self.ending();
        let ending = async move {
            serving.end().await;
            before.await;
        };
        let ending = ending.boxed().shared();
        tokio::spawn(ending.clone());
        self.ending = ending.clone();
        Some(ending)
    }
}

impl Serving {
    /// Ends it, and returns when its place is free again.
    async fn end(self) {
        let Self { at: _, tasks, made } = self;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        if let Some(made) = made {
            made.release().await;
        }
    }
}

impl Answer {
    fn accept(self, at: &At) {
        match (self, at) {
            (Self::Tcp(reply), At::Tcp(_, port)) => reply.accept(*port),
            (Self::Unix(reply), At::Unix(_)) => reply.accept(),
            // Dropped: refused.
            (Self::Tcp(_), At::Unix(_)) | (Self::Unix(_), At::Tcp(..)) => {}
        }
    }
}

/// Begins to listen beside the `taken` listeners that there are, or refuses.
pub(crate) async fn open(
    context: Arc<Context>,
    at: At,
    taken: usize,
    before: Ending,
    answer: Answer,
) -> Opening {
    let listening = async {
        before.await;
        listen(&context, &at, taken).await
    };
    let outcome = tokio::time::timeout(PATIENCE, listening).await.unwrap_or_else(|_| {
        Err(Forbidden::new("account_lookup_failed", "the host's name services do not answer"))
    });
    match outcome {
        Ok((at, listeners, made)) => Opening(Some(Opened { at, listeners, made, answer })),
        Err(forbidden) => {
            report_refused(&context, &at.to_string(), Direction::Remote, &forbidden);
            // The request itself can only be refused without a reason.
            context.handle.remark(&format!("{at}: {}", forbidden.words));
            drop(answer);
            Opening(None)
        }
    }
}

type Listening = (At, Vec<Listener>, Option<Made>);

async fn listen(context: &Context, at: &At, taken: usize) -> Result<Listening, Forbidden> {
    allowed(context, Direction::Remote)?;
    if taken >= context.shared.config.limits.listeners {
        return Err(Forbidden::new("too_many_listeners", "too many forwarded ports on one connection"));
    }
    let answer = context.sockets.ask(context, at.ask()?).await?;
    let at = match (&answer.given, at) {
        // A client names a listener whose port it left open by 0 when it asked, and by the port in everything after.
        (Given::Listening { port }, At::Tcp(address, _)) => At::Tcp(address.clone(), *port),
        _ => at.clone(),
    };
    let listeners = answer.descriptors.into_iter().map(Listener::new);
    let listeners: Vec<_> =
        listeners.collect::<Result<_, _>>().map_err(|error| cannot(&error.to_string()))?;
    if listeners.is_empty() {
        return Err(cannot("the node is out of descriptors"));
    }
    context.shared.emit(port_event(context, PORT, &at.to_string(), Direction::Remote).succeeded());
    Ok((at, listeners, answer.made))
}

fn cannot(words: &str) -> Forbidden {
    Refusal { kind: RefusalKind::CannotListen, words: words.to_owned() }.into()
}

impl At {
    fn ask(&self) -> Result<Ask, Forbidden> {
        match self {
            Self::Tcp(address, port) => {
                is_host(address).map_err(cannot)?;
                Ok(Ask::ListenTcp { address: address.clone(), port: *port })
            }
            Self::Unix(path) => {
                is_path(path).map_err(cannot)?;
                Ok(Ask::ListenUnix { path: path.clone() })
            }
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, port) => f.write_str(&beside(address, *port)),
            Self::Unix(path) => f.write_str(&String::from_utf8_lossy(path)),
        }
    }
}

async fn serve(context: Arc<Context>, listener: Listener, at: At) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < context.shared.config.limits.channels => {
                connections.spawn(forward(Arc::clone(&context), stream, peer, at.clone()));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to a forwarded port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn forward(context: Arc<Context>, stream: Stream, peer: Option<SocketAddr>, at: At) {
    let name = at.to_string();
    // The listener may be older than the roles of this moment.
    if let Err(forbidden) = allowed(&context, Direction::Remote) {
        return report_refused(&context, &name, Direction::Remote, &forbidden);
    }
    let opened = match (&at, peer) {
        (At::Tcp(address, port), Some(peer)) => {
            let origin = Origin { address: peer.ip().to_string(), port: u32::from(peer.port()) };
            context.handle.open_forwarded((address, *port), origin).await
        }
        (At::Unix(path), _) => context.handle.open_forwarded_streamlocal(path).await,
        (At::Tcp(..), None) => return,
    };
    let Ok((reader, writer)) = opened else { return };
    let relayed = relay(reader, writer, stream).await;
    let stop = port_event(&context, PORT_STOP, &name, Direction::Remote);
    let stop = stop.with("rx", relayed.from_channel).with("tx", relayed.to_channel);
    let stop = match peer {
        Some(peer) => stop.with("origin", peer.to_string()),
        None => stop,
    };
    context.shared.emit(stop.succeeded());
}
