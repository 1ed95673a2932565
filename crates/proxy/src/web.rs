//! The web side: what clients ask before they have credentials, and the join service.

mod workloads;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::HostPort;
use agent::HostAgent;
use api::v1::join_service_server::JoinServiceServer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use transport::tls::Server;
use transport::{Peer, PeerIdentity};

use crate::join_forward::{JoinForward, LARGEST_CALL};
use crate::metrics::{Metrics, Protocol};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// For the head of a request; also how long a connection may stand without one.
const HEAD: Duration = Duration::from_secs(10);
/// No visitor stays longer on one connection.
const VISIT: Duration = Duration::from_secs(300);
/// After being told to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves web connections.
#[derive(Clone)]
pub(crate) struct Site {
    router: Router,
    metrics: Metrics,
}

/// What the pages tell.
struct Facts {
    agent: Arc<HostAgent>,
    listen: SocketAddr,
    /// The first is the one that clients are told; never empty.
    public: Vec<HostPort>,
    workloads: workloads::Known,
}

impl Site {
    pub(crate) fn new(
        agent: Arc<HostAgent>,
        listen: SocketAddr,
        public: Vec<HostPort>,
        metrics: Metrics,
    ) -> Self {
        let forward = JoinForward::new(agent.channel());
        let join = JoinServiceServer::new(forward).max_decoding_message_size(LARGEST_CALL);
        let pages = Router::new()
            .route("/webapi/ping", get(ping))
            .route("/webapi/find", get(find))
            .route("/webapi/motd", get(motd));
        let router = Router::new()
            .nest("/v1", pages.clone())
            .merge(pages)
            .merge(workloads::pages())
            .with_state(Arc::new(Facts { agent, listen, public, workloads: workloads::Known::default() }))
            .route_service("/postern.v1.JoinService/{*method}", join)
            .fallback(not_found)
            .method_not_allowed_fallback(not_found);
        Self { router, metrics }
    }

    /// Serves one connection, by whichever certificate `tls` shows.
    pub(crate) async fn serve<S>(
        &self,
        tls: &Server,
        stream: S,
        addr: SocketAddr,
        shutdown: &CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = match tls.accept(stream, Some(addr.ip())).await {
            Ok(accepted) => accepted.stream,
            Err(error) => {
                self.metrics.failure(Protocol::WEB);
                return tracing::debug!(%addr, %error, "web connection refused");
            }
        };
        let peer = Peer { identity: PeerIdentity::Stranger, addr: Some(addr) };
        let service =
            self.router.clone().map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(peer.clone());
                request
            });
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = &mut connection => return drop(ended),
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(VISIT) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(FAREWELL, connection).await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(32 * 1024)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(50)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(HEAD);
    builder
}

/// Everything that a client wants to know before it logs in.
async fn ping(State(facts): State<Arc<Facts>>) -> Json<Value> {
    let policy = facts.agent.policy().current();
    let preference = &policy.auth_preference;
    let mut answer = facts.answer();
    answer["auth"] = json!({
        "type": "local",
        "second_factor": "off",
        "local": { "name": "" },
        "allow_passwordless": false,
        "allow_headless": false,
        "private_key_policy": "none",
        "has_motd": !preference.message_of_the_day.is_empty(),
        "load_all_cas": false,
        "default_session_ttl": preference.default_session_ttl.to_string(),
    });
    Json(answer)
}

/// The same without the part on logging in.
async fn find(State(facts): State<Arc<Facts>>) -> Json<Value> {
    Json(facts.answer())
}

async fn motd(State(facts): State<Arc<Facts>>) -> Json<Value> {
    Json(json!({ "Text": facts.agent.policy().current().auth_preference.message_of_the_day }))
}

async fn not_found() -> Response {
    let body =
        json!({ "error": { "message": "there is no such page; clients ask /webapi/ping and /webapi/find" } });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

impl Facts {
    fn answer(&self) -> Value {
        let policy = self.agent.policy().current();
        let public = self.public.first().map(HostPort::to_string).unwrap_or_default();
        let dial = policy.networking.ssh_dial_timeout.limit().unwrap_or_default();
        json!({
            "proxy": {
                "kube": { "enabled": false },
                "ssh": {
                    "listen_addr": self.listen.to_string(),
                    "tunnel_listen_addr": self.listen.to_string(),
                    "web_listen_addr": self.listen.to_string(),
                    "public_addr": public,
                    "ssh_public_addr": public,
                    // Nanoseconds, as existing clients read it.
                    "dial_timeout": u64::try_from(dial.as_nanos()).unwrap_or(u64::MAX),
                },
                "tls_routing_enabled": true,
            },
            "server_version": VERSION,
            "min_client_version": VERSION,
            "cluster_name": self.agent.cluster().as_str(),
            "automatic_upgrades": false,
            "edition": "oss",
            "fips": false,
        })
    }
}
