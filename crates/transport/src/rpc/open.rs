//! gRPC over a Unix socket that every process on the machine may connect to: the kernel says who calls, and what that one
//! may have is for the services to decide.

mod authority;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, chmod};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use self::authority::Named;
use super::local::{own_socket, remove_dead};
use super::server::{Limits, Serving};
use crate::backoff::Backoff;
use crate::peer::{Peer, PeerIdentity};

/// Connections at once, and those of one user.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 64;
/// Streams last for as long as their callers.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The process at the other end of a Unix socket, as it was when it connected. Handlers find it in the request's
/// extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its number; none where the kernel does not tell.
    pub pid: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct OpenServer {
    listener: OwnedFd,
    path: PathBuf,
}

impl OpenServer {
    /// Listens at `path`, with mode 0666. A socket that a dead process left is replaced, a live one is an error; anything
    /// that is no socket is left alone. Needs no runtime.
    ///
    /// # Errors
    /// When something else is there, or the system refuses.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let everybody = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        let listener = remove_dead(path).and_then(|()| own_socket(path, everybody))?;
        // The process' umask took some of it when the name was made.
        chmod(path, everybody)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until told to stop, and removes the socket then.
    pub async fn serve(self, routes: Routes, shutdown: CancellationToken) {
        let limits = Limits {
            streams: 16,
            errors: 20,
            call: Duration::from_secs(30),
            stranger: FOR_EVER,
            drain: Duration::from_secs(1),
            ..Limits::default()
        };
        let serving = Serving { routes, limits, shutdown: shutdown.clone() };
        let listener = match UnixListener::from_std(self.listener.into()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(socket = %self.path.display(), %error, "cannot be served"),
        };
        let (connections, places) = (TaskTracker::new(), Places::default());
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(socket = %self.path.display(), %error, "cannot accept connections for now");
                    tokio::time::sleep(backoff.next_wait()).await;
                    continue;
                }
            };
            backoff.reset();
            let Some(local) = peer(&stream) else { continue };
            let Some(place) = places.take(local.uid) else {
                tracing::warn!(uid = local.uid, "a local connection was refused: too many are open");
                continue;
            };
            let (serving, peer) = (serving.clone(), Peer { identity: PeerIdentity::Stranger, addr: None });
            connections.spawn(async move {
                serving.local_connection(Named::new(stream), peer, local).await;
                drop(place);
            });
        }
        let _ = std::fs::remove_file(&self.path);
        connections.close();
        connections.wait().await;
    }
}

fn peer(stream: &UnixStream) -> Option<UnixPeer> {
    match stream.peer_cred() {
        Ok(peer) => {
            let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
            Some(UnixPeer { uid: peer.uid(), gid: peer.gid(), pid })
        }
        Err(error) => {
            tracing::warn!(%error, "a local connection without credentials was refused");
            None
        }
    }
}

/// Connections by user, so that one user cannot keep the others out.
#[derive(Default, Clone)]
struct Places(Arc<Mutex<HashMap<u32, usize>>>);

struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    fn take(&self, uid: u32) -> Option<Place> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (held.values().sum::<usize>(), held.get(&uid).copied().unwrap_or_default());
        if all >= CONNECTIONS || own >= CONNECTIONS_OF_ONE {
            return None;
        }
        held.insert(uid, own + 1);
        Some(Place { places: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, CONNECTIONS_OF_ONE, Places};

    #[test]
    fn one_user_does_not_keep_the_others_out() {
        let places = Places::default();
        let mut held: Vec<_> = (0..CONNECTIONS_OF_ONE).filter_map(|_| places.take(1)).collect();
        assert_eq!(held.len(), CONNECTIONS_OF_ONE);
        assert!(places.take(1).is_none());
        for uid in 2.. {
            match places.take(uid) {
                Some(place) => held.push(place),
                None => break,
            }
        }
        assert_eq!(held.len(), CONNECTIONS);
        held.clear();
        assert!(places.take(1).is_some());
        assert!(places.0.lock().expect("not poisoned").is_empty(), "nothing is remembered of who has gone");
    }
}
