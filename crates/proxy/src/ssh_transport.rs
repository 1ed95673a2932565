//! The SSH transport: mutual TLS with a user's certificate, one dial request, one answer, then the node's SSH bytes.

use std::net::SocketAddr;
use std::time::Duration;

use access::Login;
use agent::{AuditEvent, Auditor};
use api::v1::dial_response::Outcome;
use api::v1::{Connected, DialRequest, DialResponse};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use transport::PeerIdentity;
use transport::dial::frame;
use transport::listen::Place;
use transport::relay::{Ending, relay};
use transport::ssh::Negotiated;
use transport::tls::{SecureStream, Server};

use crate::caller::Caller;
use crate::denied::Denied;
use crate::dialer::{Dialer, Dialled, Wanted};
use crate::metrics::Protocol;

/// From the handshake to the dial request.
const ASK: Duration = Duration::from_secs(10);

/// Serves one connection.
pub(crate) async fn serve<S>(
    dialer: &Dialer,
    tls: &Server,
    stream: S,
    peer: SocketAddr,
    mut place: Place,
    cut: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepted = match tls.accept(stream, Some(peer.ip())).await {
        Ok(accepted) => accepted,
        Err(error) => {
            dialer.metrics.failure(Protocol::SSH);
            return tracing::debug!(%peer, %error, "SSH transport refused");
        }
    };
    place.known();
    let mut stream = accepted.stream;
    let request = match timeout(ASK, frame::read::<DialRequest>(&mut stream)).await {
        Ok(Ok(request)) => request,
        Ok(Err(_)) | Err(_) => {
            let denied = Denied::new("bad_request", "there was no dial request in time", "check the client");
            return deny(&mut stream, denied).await;
        }
    };
    let PeerIdentity::Verified(verified) = &accepted.identity else { return };
    let Some(caller) = Caller::from_tls(verified, peer) else {
        let denied = Denied::new("not_a_user", "hosts do not log in to hosts", "use a user's identity");
        return deny(&mut stream, denied).await;
    };
    connect(dialer, &caller, request, stream, cut).await;
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    dialer: &Dialer,
    caller: &Caller,
    request: DialRequest,
    mut stream: SecureStream<S>,
    cut: CancellationToken,
) {
    let DialRequest { host, port, cluster, login } = request;
    // What is no account name is nobody's, and nothing can be locked by it.
    let wanted = Wanted { host, port, cluster, login: Login::new(login).ok() };
    let dialled = match dialer.dial(caller, &wanted).await {
        Ok(dialled) => dialled,
        Err(denied) => {
            dialer.agent.audit().emit(denial(caller, &wanted, &denied));
            return deny(&mut stream, denied).await;
        }
    };
    let node = dialled.id();
    let Dialled { stream: far, misled, .. } = dialled;
    let connected = Connected { host_id: node.to_string() };
    let answer = DialResponse { outcome: Some(Outcome::Connected(connected)) };
    if frame::write(&mut stream, &answer).await.is_err() {
        return;
    }
    let _open = dialer.metrics.relay(Protocol::SSH);
    let stop = async {
        tokio::select! {
            denied = dialer.revoked(caller, wanted.login.as_ref(), Some(node)) => Some(denied),
            () = misled.told() => None,
            () = cut.cancelled() => None,
        }
    };
    match relay(stream, far, stop).await {
        Ending::Done { forth, back } => dialer.metrics.bytes(forth, back),
        Ending::Broken(error) => tracing::debug!(peer = %caller.peer(), %error, "relay broken"),
        Ending::Cut(Some(denied)) => {
            tracing::info!(peer = %caller.peer(), user = %caller.user().name, reason = denied.reason, "relay cut");
            disconnected(dialer.agent.audit(), caller, &denied);
        }
        Ending::Cut(None) => {}
    }
}

async fn deny<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut SecureStream<S>, denied: Denied) {
    let answer = DialResponse { outcome: Some(Outcome::Denied(denied.into())) };
    let told = async {
        frame::write(stream, &answer).await?;
        stream.shutdown().await
    };
    let _ = timeout(ASK, told).await;
}

/// The event of a refusal: who, what for, why.
pub(crate) fn denial(caller: &Caller, wanted: &Wanted, denied: &Denied) -> AuditEvent {
    by(refused(&denied.reason, denied.code, caller.peer()), caller)
        .with("target", wanted.host.chars().take(253).collect::<String>())
        .with_some("login", wanted.login.as_ref().map(Login::to_string))
}

/// What every refusal says.
pub(crate) fn refused(reason: &str, code: &str, peer: SocketAddr) -> AuditEvent {
    AuditEvent::new("auth", "T3007W")
        .with("success", false)
        .with("error", reason)
        .with("reason_code", code)
        .with("addr.remote", peer.to_string())
        .with("proto", "ssh")
}

/// What protects a connection.
pub(crate) fn over(event: AuditEvent, negotiated: Negotiated) -> AuditEvent {
    event
        .with("key_exchange", negotiated.key_exchange.name())
        .with("cipher", negotiated.cipher.name())
        .with("post_quantum", negotiated.is_post_quantum())
}

/// Reports that a live connection was ended.
pub(crate) fn disconnected(audit: &Auditor, caller: &Caller, denied: &Denied) {
    let event = by(AuditEvent::new("client.disconnect", "T3006I"), caller);
    audit.emit(event.with("reason", denied.reason.clone()).with("reason_code", denied.code));
}

/// Who, from where and over what.
pub(crate) fn by(event: AuditEvent, caller: &Caller) -> AuditEvent {
    let user = caller.user();
    let event = match caller.negotiated() {
        Some(negotiated) => over(event, negotiated),
        None => event,
    };
    event
        .with("user", user.name.to_string())
        .with("user_kind", if user.bot.is_some() { 2 } else { 1 })
        .with_some("impersonator", user.impersonator.as_ref().map(ToString::to_string))
        .with("addr.remote", caller.peer().to_string())
        .with("proto", "ssh")
}
