//! Takes connections in: bounded before and after login, and never ended by a failing accept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use transport::ssh::Keepalive;
use transport::ssh::server::{AcceptError, ServerConfig, accept};

use crate::connection::{self, Gatekeeper};
use crate::shared::Shared;

/// The pause after a failed accept: descriptors may have run out, and trying at once would only burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until draining begins.
pub(crate) async fn serve(
    listener: TcpListener,
    ssh: ServerConfig,
    shared: Arc<Shared>,
    connections: TaskTracker,
) {
    let startups = Arc::new(Semaphore::new(shared.config.limits.startups));
    let all = Arc::new(Semaphore::new(shared.config.limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.draining.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying on");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let slots = (Arc::clone(&startups).try_acquire_owned(), Arc::clone(&all).try_acquire_owned());
        let (Ok(startup), Ok(slot)) = slots else {
            // Dropped without a word: whoever floods is not worth a packet.
            shared.metrics.refuse("too_many_connections");
            continue;
        };
        let (ssh, shared) = (current(&ssh, &shared), Arc::clone(&shared));
        connections.spawn(async move {
            shared.metrics.startups.inc();
            let connection = log_in(stream, peer, ssh, &shared).await;
            shared.metrics.startups.dec();
            drop(startup);
            if let Some((connection, local)) = connection {
                connection::run(connection, peer, local, shared).await;
            }
            drop(slot);
        });
    }
}

/// With what the cluster says about silent clients now.
fn current(ssh: &ServerConfig, shared: &Shared) -> Arc<ServerConfig> {
    let policy = shared.policy();
    let keepalive = Keepalive {
        interval: policy.networking.keep_alive_interval.0,
        count: policy.networking.keep_alive_count_max,
    };
    Arc::new(ServerConfig { keepalive, ..ssh.clone() })
}

type LoggedIn = transport::ssh::server::Connection<connection::Admitted>;

async fn log_in(
    stream: TcpStream,
    peer: SocketAddr,
    ssh: Arc<ServerConfig>,
    shared: &Arc<Shared>,
) -> Option<(LoggedIn, SocketAddr)> {
    let local = stream.local_addr().ok()?;
    stream.set_nodelay(true).ok()?;
    let gatekeeper = Gatekeeper::new(Arc::clone(shared), local);
    let accepted = tokio::select! {
        accepted = accept(stream, ssh, peer, gatekeeper) => accepted,
        () = shared.draining.cancelled() => return None,
    };
    match accepted {
        Ok(connection) => return Some((connection, local)),
        // The gatekeeper has said what there is to say.
        Err(AcceptError::Refused(_)) => {}
        Err(AcceptError::Unauthenticated(attempts)) => {
            shared.metrics.refuse("unauthenticated");
            tracing::info!(%peer, %attempts, "client was not authenticated");
        }
        Err(error @ AcceptError::Grace(..)) => {
            shared.metrics.refuse("login_grace");
            tracing::info!(%peer, %error, "client did not log in");
        }
        Err(AcceptError::Broken(reason)) => {
            shared.metrics.refuse("protocol");
            tracing::debug!(%peer, reason, "connection failed before login");
        }
    }
    None
}
