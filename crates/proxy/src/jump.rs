//! The raw SSH jump host, so that `ssh -J proxy:port` works with nothing installed: it authenticates user certificates,
//! opens `direct-tcpip` channels to registered nodes, and refuses everything else.

use std::net::SocketAddr;
use std::sync::Arc;

use access::UserName;
use agent::{AuditEvent, Auditor};
use identity::Refusal;
use identity::verify::ssh::{UserContext, holder, user};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::LiveCredentials;
use transport::listen::Place;
use transport::ssh;
use transport::ssh::server::{
    Attempt, Authenticator, Connection, Event, Offer, OpenRefusal, OpenRequest, Rejection, ServerConfig,
    accept,
};

use crate::caller::Caller;
use crate::dialer::{Dialer, Dialled, Wanted};
use crate::metrics::Protocol;
use crate::ssh_transport::{by, denial, disconnected, over, refused};

const REFUSED: &str = "this is a jump host: it only connects to nodes of the cluster (ssh -J)";

/// Admits holders of a valid user certificate, whatever account they name: no session is opened here.
struct Door {
    credentials: LiveCredentials,
    audit: Auditor,
}

impl Authenticator for Door {
    type Grant = Caller;

    async fn authenticate(&self, attempt: &Attempt) -> Result<Caller, Rejection> {
        let offer = attempt.verify()?;
        let Some(current) = self.credentials.current() else {
            return Err(Rejection::untold("the proxy has no credentials"));
        };
        let peer = offer.peer;
        let context =
            UserContext { trust: current.trust(), now: Timestamp::now(), peer: Some(peer.ip()), login: None };
        match user(offer.certificate.blob(), &context) {
            Ok(verified) => Ok(Caller::from_ssh(&verified, peer, offer.negotiated)),
            Err(refusal) => {
                if let Some(holder) = holder(offer.certificate.blob(), current.trust()) {
                    // Only for certificates of ours: strangers could fill the log with theirs.
                    let code = refusal.code();
                    tracing::warn!(%peer, user = %holder, code, reason = %refusal, "refused a jump");
                    self.audit.emit(turned_away(&holder, &refusal, &offer));
                }
                Err(Rejection::untold(format!("{refusal} ({})", refusal.code())))
            }
        }
    }
}

/// Serves one connection.
pub(crate) async fn serve<S>(
    dialer: &Dialer,
    config: &Arc<ServerConfig>,
    stream: S,
    peer: SocketAddr,
    mut place: Place,
    cut: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let door = Door { credentials: dialer.agent.credentials().clone(), audit: dialer.agent.audit().clone() };
    let connection = match accept(stream, Arc::clone(config), peer, door).await {
        Ok(connection) => connection,
        Err(error) => {
            dialer.metrics.failure(Protocol::JUMP);
            return tracing::debug!(%peer, %error, "jump refused");
        }
    };
    place.known();
    let Connection { grant: caller, negotiated, handle, mut events } = connection;
    dialer.metrics.key_exchange(negotiated.key_exchange);
    let caller = Arc::new(caller);
    let channels = TaskTracker::new();
    let mut misled = Misled(false);
    let revoked = dialer.revoked(&caller, None, None);
    tokio::pin!(revoked);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => take(event, dialer, &caller, &channels, &mut misled).await,
                None => break,
            },
            denied = &mut revoked => {
                disconnected(dialer.agent.audit(), &caller, &denied);
                handle.disconnect(&denied.line()).await;
                break;
            }
            () = cut.cancelled() => {
                handle.disconnect("the proxy is stopping").await;
                break;
            }
        }
    }
}

/// The event of a certificate of ours that does not do, an expired one most often.
fn turned_away(holder: &UserName, refusal: &Refusal, offer: &Offer) -> AuditEvent {
    let event = refused(&refusal.to_string(), refusal.code(), offer.peer);
    over(event, offer.negotiated).with("user", holder.to_string()).with("login", offer.login.as_str())
}

async fn take(
    event: Event,
    dialer: &Dialer,
    caller: &Arc<Caller>,
    channels: &TaskTracker,
    misled: &mut Misled,
) {
    match event {
        Event::DirectTcpip { host, port, open, .. } => {
            let wanted = Wanted { host, port: port.into(), cluster: String::new(), login: None };
            channels.spawn(channel(dialer.clone(), Arc::clone(caller), wanted, open));
        }
        Event::Session(open) | Event::DirectStreamlocal { open, .. } => {
            misled.tell(dialer, caller);
            open.reject(OpenRefusal::Prohibited, REFUSED).await;
        }
        // Dropped: refused.
        Event::TcpipForward { .. } | Event::StreamlocalForward { .. } => misled.tell(dialer, caller),
        Event::CancelTcpipForward { .. } | Event::CancelStreamlocalForward { .. } => {}
    }
}

/// Whether somebody was told that this is no host; the audit log hears it once for each connection.
struct Misled(bool);

impl Misled {
    fn tell(&mut self, dialer: &Dialer, caller: &Caller) {
        if !std::mem::replace(&mut self.0, true) {
            let event = AuditEvent::new("session.rejected", "T1006W").with("success", false);
            dialer.agent.audit().emit(by(event, caller).with("reason", REFUSED));
        }
    }
}

async fn channel(dialer: Dialer, caller: Arc<Caller>, wanted: Wanted, open: OpenRequest) {
    let dialled = match dialer.dial(&caller, &wanted).await {
        Ok(dialled) => dialled,
        Err(denied) => {
            dialer.agent.audit().emit(denial(&caller, &wanted, &denied));
            let refusal = match denied.code {
                "node_unreachable" | "node_not_ssh" | "nodes_unknown" => OpenRefusal::ConnectFailed,
                _ => OpenRefusal::Prohibited,
            };
            return open.reject(refusal, &denied.line()).await;
        }
    };
    let node = dialled.id();
    let Dialled { stream, misled, .. } = dialled;
    let _open = dialer.metrics.relay(Protocol::JUMP);
    let opened = open.accept().await;
    tokio::select! {
        // A lock on the node; locks on the caller end the whole connection.
        denied = dialer.revoked(&caller, None, Some(node)) => disconnected(dialer.agent.audit(), &caller, &denied),
        () = misled.told() => {}
        done = ssh::relay(opened.reader, opened.writer, stream) => {
            dialer.metrics.bytes(done.from_channel, done.to_channel);
        }
    }
}
