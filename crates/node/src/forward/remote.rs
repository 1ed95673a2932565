//! Listeners that a client has on this host (`ssh -R`): bound to its connection, on the loopback interface only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use transport::ssh::relay;
use transport::ssh::server::{ForwardReply, Origin};

use super::{Direction, Forbidden, allowed, port_event, report_refused, target};
use crate::audit::{PORT, PORT_STOP};
use crate::connection::Context;

/// Ports below are for root, as for any program.
const FIRST_UNPRIVILEGED: u16 = 1024;
const ROOT: &str = "root";

/// How long opening a listener may take. The client waits for the answer, and those to its later requests wait behind it.
const PATIENCE: Duration = Duration::from_secs(8);

/// All listeners of one connection; they end with this value.
pub(crate) struct Listeners {
    context: Arc<Context>,
    open: Vec<Listener>,
}

struct Listener {
    /// As the client wrote it; it is how the client knows what a connection belongs to.
    address: String,
    port: u16,
    _serving: Vec<AbortOnDropHandle<()>>,
}

/// What became of a wish for a listener.
pub(crate) struct Opening(Option<Opened>);

struct Opened {
    address: String,
    port: u16,
    sockets: Vec<TcpListener>,
    reply: ForwardReply,
}

impl Listeners {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, open: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Serves a listener that was opened, and tells the client.
    pub(crate) fn keep(&mut self, opening: Option<Opening>) {
        let Some(Opening(Some(Opened { address, port, sockets, reply }))) = opening else { return };
        // A client names a listener whose port it left open by 0 when it asked, and by the port in everything after.
        let serving = sockets.into_iter().map(|socket| {
            let work = serve(Arc::clone(&self.context), socket, address.clone(), port);
            AbortOnDropHandle::new(tokio::spawn(work))
        });
        let serving = serving.collect();
        self.open.push(Listener { address, port, _serving: serving });
        reply.accept(port);
    }

    /// Ends a listener of this connection.
    pub(crate) fn close(&mut self, address: &str, port: u16) -> bool {
        let before = self.open.len();
        self.open.retain(|listener| listener.address != address || listener.port != port);
        self.open.len() < before
    }
}

/// Begins to listen beside the `taken` listeners that there are, or refuses.
pub(crate) async fn open(
    context: Arc<Context>,
    address: String,
    port: u16,
    taken: usize,
    reply: ForwardReply,
) -> Opening {
    let listening = tokio::time::timeout(PATIENCE, listen(&context, &address, port, taken));
    let outcome = listening.await.unwrap_or_else(|_| {
        Err(Forbidden::new("account_lookup_failed", "the host's name services do not answer"))
    });
    match outcome {
        Ok((sockets, port)) => Opening(Some(Opened { address, port, sockets, reply })),
        Err(forbidden) => {
            report_refused(&context, &target(&address, port), Direction::Remote, &forbidden);
            reply.refuse();
            Opening(None)
        }
    }
}

async fn listen(
    context: &Context,
    address: &str,
    port: u16,
    taken: usize,
) -> Result<(Vec<TcpListener>, u16), Forbidden> {
    allowed(context, Direction::Remote).await?;
    if taken >= context.shared.config.limits.listeners {
        return Err(Forbidden::new("too_many_listeners", "too many forwarded ports on one connection"));
    }
    if (1..FIRST_UNPRIVILEGED).contains(&port) && context.admission().permit().login().as_str() != ROOT {
        return Err(Forbidden::new("privileged_port", format!("port {port} is for {ROOT} only")));
    }
    let sockets = bind(address, port).await.map_err(|reason| Forbidden::new("cannot_listen", reason))?;
    let bound =
        sockets.first().and_then(|socket| socket.local_addr().ok()).map_or(port, |bound| bound.port());
    let event = port_event(context, PORT, &target(address, bound), Direction::Remote);
    context.shared.emit(event.succeeded());
    Ok((sockets, bound))
}

/// Whatever a client asks for, as with OpenSSH's default, it gets the loopback interface; where it names no address in
/// particular, in both families.
async fn bind(address: &str, port: u16) -> Result<Vec<TcpListener>, String> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let wanted: &[IpAddr] = match address {
        "" | "*" | "localhost" | "0.0.0.0" | "::" => &[v4, v6],
        "127.0.0.1" => &[v4],
        "::1" => &[v6],
        _ => return Err(format!("cannot listen on {address:?}; only on the loopback interface")),
    };
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut failure = String::new();
    for address in wanted {
        let port =
            sockets.first().and_then(|first| first.local_addr().ok()).map_or(port, |first| first.port());
        match TcpListener::bind(SocketAddr::new(*address, port)).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => failure = format!("cannot listen on {}: {error}", SocketAddr::new(*address, port)),
        }
    }
    match sockets.is_empty() {
        true => Err(failure),
        false => Ok(sockets),
    }
}

async fn serve(context: Arc<Context>, socket: TcpListener, address: String, port: u16) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < context.shared.config.limits.channels => {
                connections.spawn(forward(Arc::clone(&context), stream, peer, address.clone(), port));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to a forwarded port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn forward(context: Arc<Context>, stream: TcpStream, peer: SocketAddr, address: String, port: u16) {
    // The listener may be older than the roles of this moment.
    if let Err(forbidden) = allowed(&context, Direction::Remote).await {
        return report_refused(&context, &target(&address, port), Direction::Remote, &forbidden);
    }
    let _ = stream.set_nodelay(true);
    let origin = Origin { address: peer.ip().to_string(), port: u32::from(peer.port()) };
    let Ok((reader, writer)) = context.handle.open_forwarded((&address, port), origin).await else {
        return;
    };
    let relayed = relay(reader, writer, stream).await;
    let stop = port_event(&context, PORT_STOP, &target(&address, port), Direction::Remote);
    let stop = stop.with("rx", relayed.from_channel).with("tx", relayed.to_channel);
    context.shared.emit(stop.with("origin", peer.to_string()).succeeded());
}
