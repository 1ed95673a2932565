//! The server's side of gRPC over mutual TLS.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use access::SystemRole;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use super::open::UnixPeer;
use crate::listen::{Accepted, Call, Calls, Listener};
use crate::peer::{PassedOnBy, Peer, PeerIdentity};
use crate::tls::{ClientCertificates, LiveCredentials, Server, ServerCertificates, alpn};

/// Set by proxies on the calls of strangers that they pass on: where the stranger connects from, as `ip:port`.
pub const FORWARDED_FOR: &str = "postern-forwarded-for";

/// What one connection may ask of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls at once.
    pub streams: u32,
    /// Bytes of headers of one call.
    pub header_bytes: u32,
    /// Calls that were reset by the client before they were accepted; more than that ends the connection
    /// (CVE-2023-44487).
    pub pending_resets: usize,
    /// Errors of the client's making; more than that ends the connection.
    pub errors: usize,
    /// From the first byte of a call to its answer, or to the beginning of an answer that is a stream.
    pub call: Duration,
    /// How long a peer without a certificate may stay; then its calls may finish within `drain`.
    pub stranger: Duration,
    /// After being told to stop: how long calls may go on.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 200,
            header_bytes: 16 * 1024,
            pending_resets: 20,
            errors: 100,
            call: Duration::from_secs(60),
            stranger: Duration::from_secs(60),
            drain: Duration::from_secs(20),
        }
    }
}

/// A gRPC server whose clients show certificates of the cluster, or none (strangers). Handlers find a [`Peer`] in
/// the request's extensions.
pub struct RpcServer {
    /// Where it listens.
    pub listener: Listener,
    /// What it shows, and the trust by which it judges its clients; both may change while it runs.
    pub credentials: LiveCredentials,
    /// The services.
    pub routes: Routes,
    /// What one connection may ask of it.
    pub limits: Limits,
    /// Stops it: no new connections, calls finish within `limits.drain`.
    pub shutdown: CancellationToken,
}

impl RpcServer {
    /// Serves until told to stop, and returns when the last connection is gone.
    pub async fn serve(self) {
        let tls = Server::new(
            ServerCertificates::Own(self.credentials.clone()),
            ClientCertificates::Optional,
            &[alpn::AUTH, alpn::JOIN, alpn::H2],
        );
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let serving =
                Serving { routes: self.routes.clone(), limits: self.limits, shutdown: self.shutdown.clone() };
            connections.spawn(one(accepted, tls.clone(), serving));
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// Serves one connection, unless somebody else gets its place.
async fn one(accepted: Accepted, tls: Server, serving: Serving) {
    let lost = accepted.place.lost();
    tokio::select! {
        () = serve(accepted, tls, serving) => {}
        () = lost => {}
    }
}

async fn serve(accepted: Accepted, tls: Server, serving: Serving) {
    let Accepted { stream, addr, mut place } = accepted;
    let accepted = match tls.accept(stream, Some(addr.ip())).await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%addr, %error, "connection refused");
            return;
        }
    };
    match &accepted.identity {
        PeerIdentity::Verified(verified) => {
            let member = verified.identity().subject.member();
            if !place.belongs_to(&member) {
                tracing::debug!(%addr, %member, "all places are taken by other members");
                return;
            }
        }
        // A proxy relays this protocol for anybody, blindly: a stranger on it would have the proxy's address. Strangers
        // join by a protocol of their own, which proxies forward with the address that they saw.
        PeerIdentity::Stranger if accepted.stream.protocol() == Some(alpn::AUTH) => {
            tracing::debug!(%addr, "a connection without a certificate was refused");
            return;
        }
        PeerIdentity::Stranger | PeerIdentity::LocalAdmin { .. } => {}
    }
    let peer = Peer { identity: accepted.identity, addr: Some(addr) };
    serving.serve(accepted.stream, peer, None, Some(place.calls())).await;
    drop(place);
}

/// In the extensions of an answer: the caller gets it, and its connection ends when the calls that are under way have ended.
#[derive(Debug, Clone, Copy)]
pub struct Dismissed;

/// The body of an answer, which belongs to a call as long as it lasts.
struct Counted {
    body: Body,
    _call: Option<Call>,
}

impl hyper::body::Body for Counted {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = <Body as hyper::body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What every connection of a server shares.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    pub(super) shutdown: CancellationToken,
}

impl Serving {
    /// HTTP/2 on one connection, until it ends, the server stops, the peer's certificate expires or a stranger has been
    /// here long enough.
    pub(super) async fn connection<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.serve(stream, peer, None, None).await;
    }

    /// The same for a process on this machine, whose calls are counted.
    pub(super) async fn local_connection<S>(self, stream: S, local: UnixPeer, calls: Calls)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer { identity: PeerIdentity::Stranger, addr: None };
        self.serve(stream, peer, Some(local), Some(calls)).await;
    }

    async fn serve<S>(self, stream: S, peer: Peer, local: Option<UnixPeer>, calls: Option<Calls>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (addr, expiry) = (peer.addr, expiry(peer.clone(), self.limits.stranger));
        let within = self.limits.call;
        let routes = self.routes.prepare();
        let dismissed = CancellationToken::new();
        let dismissing = dismissed.clone();
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().extend(local.map(extension).unwrap_or_default());
            let (routes, peer, dismissed) = (routes.clone(), peer.clone(), dismissing.clone());
            let call = calls.as_ref().map(Calls::begin);
            async move {
                let answer = answer(routes, peer, request, within).await;
                if answer.extensions().get::<Dismissed>().is_some() {
                    dismissed.cancel();
                }
                Ok::<_, Infallible>(answer.map(|body| Body::new(Counted { body, _call: call })))
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(self.limits.header_bytes)
            .max_pending_accept_reset_streams(self.limits.pending_resets)
            .max_local_error_reset_streams(self.limits.errors)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = &mut connection => return log(addr, ended),
            () = self.shutdown.cancelled() => {}
            () = dismissed.cancelled() => tracing::debug!(?addr, "the peer may not stay"),
            why = expiry => tracing::debug!(?addr, "the peer has to reconnect: {why}"),
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(self.limits.drain, &mut connection).await {
            log(addr, ended);
        }
    }
}

fn extension(local: UnixPeer) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(local);
    extensions
}

async fn answer(
    routes: Routes,
    peer: Peer,
    request: http::Request<Incoming>,
    within: Duration,
) -> http::Response<Body> {
    let mut request = request.map(Body::new);
    let named = request.headers_mut().remove(FORWARDED_FOR);
    let caller = match named {
        Some(named) if is_proxy(&peer) => {
            request.extensions_mut().insert(PassedOnBy(peer));
            stranger(&named)
        }
        _ => peer,
    };
    request.extensions_mut().insert(caller);
    match tokio::time::timeout(within, routes.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            let text = format!("the call was not complete and answered within {within:?}; try again");
            tonic::Status::deadline_exceeded(text).into_http()
        }
    }
}

/// A call that a proxy passes on is the call of the stranger it names, with nothing of the proxy's own rights. From
/// anybody else the header means nothing.
fn stranger(named: &http::HeaderValue) -> Peer {
    let addr = named.to_str().ok().and_then(|text| text.parse().ok());
    Peer { identity: PeerIdentity::Stranger, addr }
}

fn is_proxy(peer: &Peer) -> bool {
    let PeerIdentity::Verified(identity) = &peer.identity else { return false };
    identity.identity().host().is_some_and(|host| host.role == SystemRole::Proxy)
}

/// Resolves when the peer may not stay any longer, with the reason.
async fn expiry(peer: Peer, stranger: Duration) -> &'static str {
    let identity = match peer.identity {
        PeerIdentity::Verified(identity) => identity,
        PeerIdentity::LocalAdmin { .. } => return std::future::pending().await,
        PeerIdentity::Stranger => {
            tokio::time::sleep(stranger).await;
            return "it has not said who it is";
        }
    };
    // In steps, because a timer does not notice a clock that is set.
    while let Ok(left) = Duration::try_from(identity.valid_before().duration_since(Timestamp::now())) {
        if left.is_zero() {
            break;
        }
        tokio::time::sleep(left.min(Duration::from_secs(60))).await;
    }
    "its certificate expired"
}

fn log(addr: Option<SocketAddr>, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(?addr, %error, "connection ended");
    }
}

impl From<crate::listen::BindError> for io::Error {
    fn from(error: crate::listen::BindError) -> Self {
        io::Error::new(error.reason.kind(), error)
    }
}
