//! gRPC over a Unix socket, for administration on the machine itself: the kernel says who calls.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Channel;

use super::client::endpoint;
use super::server::{Limits, Serving};
use crate::backoff::Backoff;
use crate::error::{ConnectError, Problem};
use crate::peer::{Peer, PeerIdentity};

/// Connections at once; administrators are few.
const CONNECTIONS: usize = 64;

/// A channel to the administration socket at `path`; lazy like the others.
#[must_use]
pub fn connect_admin(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move {
            let connected = UnixStream::connect(&path).await.map(TokioIo::new);
            connected.map_err(|error| ConnectError::new(path.display(), Problem::Local(Arc::new(error))))
        }
    });
    endpoint().connect_with_connector_lazy(connector)
}

/// Serves gRPC on a Unix socket to root and to the service's own user, nobody else.
pub struct LocalServer {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalServer {
    /// Listens at `path`, with mode 0600. A socket that a dead process left is replaced, a live one is an error;
    /// anything that is no socket is left alone.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let bound = remove_dead(path).and_then(|()| {
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
        };
        Ok(Self { listener: bound.map_err(named)?, path: path.to_owned() })
    }

    /// Serves until told to stop, and removes the socket then.
    pub async fn serve(self, routes: Routes, limits: Limits, shutdown: CancellationToken) {
        let serving = Serving { routes, limits, shutdown: shutdown.clone() };
        let connections = TaskTracker::new();
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS => stream,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(socket = %self.path.display(), %error, "cannot accept connections for now");
                    tokio::time::sleep(backoff.next_wait()).await;
                    continue;
                }
            };
            backoff.reset();
            let Some(uid) = admin(&stream) else { continue };
            let peer = Peer { identity: PeerIdentity::LocalAdmin { uid }, addr: None };
            connections.spawn(serving.clone().connection(stream, peer));
        }
        let _ = std::fs::remove_file(&self.path);
        connections.close();
        connections.wait().await;
    }
}

/// The user id of a peer that may administer.
fn admin(stream: &UnixStream) -> Option<u32> {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            tracing::warn!(%error, "a local connection without credentials was refused");
            return None;
        }
    };
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return Some(uid);
    }
    tracing::warn!(uid, "a local connection was refused: neither root nor the service's user");
    None
}

fn remove_dead(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
        Err(_) => std::fs::remove_file(path),
    }
}
