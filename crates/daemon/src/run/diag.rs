//! Health and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! Answers from memory only, without authentication, so it must not say more than names, states and numbers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use transport::listen::Listen;

use super::{board::Board, metrics::Metrics};

/// Enough for a few scrapers; everybody else waits in the listen queue.
const CONNECTIONS: usize = 32;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is kept open is closed then; scrapers open a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// After a failed accept (out of file descriptors), until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The server, bound and not yet serving.
pub struct Diag {
    listener: TcpListener,
    app: Router,
}

#[derive(Clone)]
struct Sources {
    board: Arc<Board>,
    metrics: Metrics,
}

impl Diag {
    /// Listens.
    ///
    /// # Errors
    /// When the port is taken or not allowed.
    pub fn bind(listen: impl Into<Listen>, board: Arc<Board>, metrics: Metrics) -> std::io::Result<Self> {
        let listener = listen.into().listen()?;
        let app = Router::new()
            .route("/livez", get(async || Json(json!({"status": "ok"}))))
            .route("/healthz", get(async || Json(json!({"status": "ok"}))))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .with_state(Sources { board, metrics });
        Ok(Self { listener, app })
    }

    /// The address that was taken, for configurations with port 0.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    drop(tokio::spawn(connection(stream, self.app.clone(), slot, stop.clone())))
                }
                Err(error) => {
                    tracing::warn!(%error, "diagnostics cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router, slot: OwnedSemaphorePermit, stop: CancellationToken) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    // How a scraper ends its connection is its own affair.
    tokio::select! {
        _ = tokio::time::timeout(CONNECTION_TIMEOUT, served) => {}
        () = stop.cancelled() => {}
    }
    drop(slot);
}

async fn readyz(State(sources): State<Sources>) -> Response {
    let readiness = sources.board.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics_text(State(sources): State<Sources>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match sources.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
