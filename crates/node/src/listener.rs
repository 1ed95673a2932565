//! Takes connections in: bounded before and after login, and never ended by a failing accept.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use transport::listen::{Accepted, Listener};
use transport::ssh::Keepalive;
use transport::ssh::server::{AcceptError, ServerConfig, accept};

use crate::connection::{self, Gatekeeper};
use crate::shared::Shared;

/// Serves until draining begins.
pub(crate) async fn serve(
    listener: Listener,
    ssh: ServerConfig,
    shared: Arc<Shared>,
    connections: TaskTracker,
) {
    let (mut turned_away, mut dropped) = (0, 0);
    loop {
        let Accepted { stream, addr: peer, mut place } = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.draining.cancelled() => return,
        };
        let before = std::mem::replace(&mut turned_away, listener.turned_away());
        shared.metrics.refuse_many("too_many_connections", turned_away - before);
        let before = std::mem::replace(&mut dropped, listener.dropped());
        shared.metrics.refuse_many("too_many_strangers", dropped - before);
        let (ssh, shared) = (current(&ssh, &shared), Arc::clone(&shared));
        connections.spawn(async move {
            shared.metrics.startups.inc();
            let connection = tokio::select! {
                connection = log_in(stream, peer, ssh, &shared) => connection,
                () = place.lost() => None,
            };
            shared.metrics.startups.dec();
            if let Some((connection, local)) = connection {
                place.known();
                connection::run(connection, peer, local, shared).await;
            }
            drop(place);
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
    // For the launcher, which asks the kernel who it is.
    let socket = Arc::new(stream.as_fd().try_clone_to_owned().ok()?);
    let gatekeeper = Gatekeeper::new(Arc::clone(shared), local, socket);
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
