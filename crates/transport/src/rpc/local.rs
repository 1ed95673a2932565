//! gRPC over a Unix socket, for administration on the machine itself: the kernel says who calls.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Uid, geteuid};
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
/// Connections that wait for being accepted.
const BACKLOG: i32 = 128;

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

/// Serves gRPC on a Unix socket to root and to who made the socket, nobody else.
///
/// A process that does not stay root makes it while it is: then it is root's, and the process is let in no more than any other
/// one of its user.
#[derive(Debug)]
pub struct LocalServer {
    listener: OwnedFd,
    path: PathBuf,
    maker: Uid,
}

impl LocalServer {
    /// Listens at `path`, with mode 0600. A socket that a dead process left is replaced, a live one is an error;
    /// anything that is no socket is left alone. Needs no runtime.
    ///
    /// # Errors
    /// When something else is there, or the system refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let bound = remove_dead(path).and_then(|()| own_socket(path, Mode::RUSR | Mode::WUSR));
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
        };
        Ok(Self { listener: bound.map_err(named)?, path: path.to_owned(), maker: geteuid() })
    }

    /// Serves until told to stop, and removes the socket then.
    pub async fn serve(self, routes: Routes, limits: Limits, shutdown: CancellationToken) {
        let serving = Serving { routes, limits, shutdown: shutdown.clone() };
        let listener = match UnixListener::from_std(self.listener.into()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(socket = %self.path.display(), %error, "cannot be served"),
        };
        let connections = TaskTracker::new();
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
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
            let Some(uid) = admin(&stream, self.maker) else { continue };
            let peer = Peer { identity: PeerIdentity::LocalAdmin { uid }, addr: None };
            connections.spawn(serving.clone().connection(stream, peer));
        }
        // Root's stays behind where the process is root no more; the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
        connections.close();
        connections.wait().await;
    }
}

/// A listening socket of this mode from its first moment on: the mode goes by the descriptor, before there is a name that
/// somebody could put something else in place of.
pub(super) fn own_socket(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, mode)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The user id of a peer that may administer.
fn admin(stream: &UnixStream, maker: Uid) -> Option<u32> {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            tracing::warn!(%error, "a local connection without credentials was refused");
            return None;
        }
    };
    if uid == 0 || uid == maker.as_raw() {
        return Some(uid);
    }
    tracing::warn!(uid, "a local connection was refused: neither root nor who made the socket");
    None
}

pub(super) fn remove_dead(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
    }
    // Root need not ask one of somebody else's whether it lives.
    let foreign = geteuid().is_root() && found.uid() != 0;
    if !foreign && std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
    }
    std::fs::remove_file(path)
}
