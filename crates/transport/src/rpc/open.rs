//! gRPC over a Unix socket that every process on the machine may connect to: the kernel says who calls, and what that one
//! may have is for the services to decide.

mod authority;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use crate::listen::Calls;

/// Connections at once, and those of one user.
const CONNECTIONS: usize = 256;
const CONNECTIONS_OF_ONE: usize = 64;
/// From connecting to the first call.
const FIRST_CALL: Duration = Duration::from_secs(10);
/// Without a call, after the first one: between one and two of these.
const IDLE: Duration = Duration::from_secs(60);
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
            connections.spawn(one(stream, local, place, serving.clone()));
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

/// Serves one connection, unless somebody else gets its place.
async fn one(stream: UnixStream, local: UnixPeer, place: Place, serving: Serving) {
    let stop = serving.shutdown.child_token();
    let serving = Serving { shutdown: stop.clone(), ..serving };
    let calls = place.calls.clone();
    let serving = serving.local_connection(Named::new(stream), local, calls.clone());
    let unless_unused = async {
        unused(&calls).await;
        stop.cancel();
        std::future::pending().await
    };
    tokio::select! {
        () = serving => {}
        () = place.lost.cancelled() => tracing::debug!(uid = local.uid, "a local connection made room for another"),
        () = unless_unused => {}
    }
}

/// Returns when nobody has asked anything for too long.
async fn unused(calls: &Calls) {
    tokio::time::sleep(FIRST_CALL).await;
    let mut before = Some(0);
    while calls.idle_since().is_none() || calls.idle_since() != before {
        before = calls.idle_since();
        tokio::time::sleep(IDLE).await;
    }
}

/// The connections by the order of their arrival, so that no user can keep the others out.
#[derive(Default, Clone)]
struct Places(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    arrivals: u64,
    all: BTreeMap<u64, Entry>,
}

struct Entry {
    uid: u32,
    calls: Calls,
    lost: CancellationToken,
}

struct Place {
    places: Places,
    arrival: u64,
    calls: Calls,
    /// Somebody else has it now.
    lost: CancellationToken,
}

impl Places {
    /// A place for a connection of this user; somebody else may lose theirs for it.
    fn take(&self, uid: u32) -> Option<Place> {
        let mut held = self.lock();
        if let Some(loser) = held.loser(uid)? {
            held.all.remove(&loser).inspect(|entry| entry.lost.cancel());
        }
        let (arrival, calls, lost) = (held.arrivals, Calls::default(), CancellationToken::new());
        held.arrivals += 1;
        held.all.insert(arrival, Entry { uid, calls: calls.clone(), lost: lost.clone() });
        Some(Place { places: self.clone(), arrival, calls, lost })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Who makes room for another connection of this user, if somebody has to; absent when nobody does.
    ///
    /// Nobody loses a place to a user who holds more than they, and none that is in use while there are others.
    fn loser(&self, uid: u32) -> Option<Option<u64>> {
        let by_user = self.count(|_| true);
        let count = |uid: u32| by_user.get(&uid).copied().unwrap_or_default();
        let own = count(uid);
        if own >= CONNECTIONS_OF_ONE {
            return self.oldest(|entry| entry.uid == uid && entry.is_idle()).map(Some);
        }
        if self.all.len() < CONNECTIONS {
            return Some(None);
        }
        let idle = most(self.count(|entry| entry.is_idle() && count(entry.uid) >= own));
        if let Some(loser) = idle {
            return self.oldest(|entry| entry.uid == loser && entry.is_idle()).map(Some);
        }
        let loser = most(by_user.clone()).filter(|loser| count(*loser) > own + 1)?;
        self.oldest(|entry| entry.uid == loser).map(Some)
    }

    /// How many each user has of those.
    fn count(&self, which: impl Fn(&Entry) -> bool) -> BTreeMap<u32, usize> {
        let mut count = BTreeMap::new();
        for entry in self.all.values().filter(|entry| which(entry)) {
            *count.entry(entry.uid).or_default() += 1;
        }
        count
    }

    fn oldest(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        self.all.iter().find(|(_, entry)| which(entry)).map(|(arrival, _)| *arrival)
    }
}

fn most(count: BTreeMap<u32, usize>) -> Option<u32> {
    count.into_iter().max_by_key(|(_, count)| *count).map(|(uid, _)| uid)
}

impl Entry {
    /// Nothing is being asked on it.
    fn is_idle(&self) -> bool {
        self.calls.idle_since().is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().all.remove(&self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, CONNECTIONS_OF_ONE, FIRST_CALL, IDLE, OpenServer, Place, Places};
    use crate::listen::Call;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;
    use tonic::service::Routes;

    /// All places, of users from 1 on, each with as many as one may have.
    fn full(places: &Places) -> Vec<Place> {
        let share = u32::try_from(CONNECTIONS / CONNECTIONS_OF_ONE).expect("few");
        let users = (1..=share).flat_map(|uid| [uid; CONNECTIONS_OF_ONE]);
        users.map(|uid| places.take(uid).expect("has a place")).collect()
    }

    fn lost(held: &[Place]) -> Vec<usize> {
        (0..held.len()).filter(|at| held[*at].lost.is_cancelled()).collect()
    }

    #[test]
    fn users_who_fill_it_and_ask_nothing_keep_nobody_out() {
        let places = Places::default();
        let held = full(&places);
        assert_eq!((held.len(), lost(&held)), (CONNECTIONS, vec![]));
        let newcomers: Vec<Place> = (0..10).filter_map(|_| places.take(99)).collect();
        assert_eq!((newcomers.len(), lost(&held).len()), (10, 10));
        // Each of them has less than before, and gets nothing of the newcomer's.
        let again: Vec<Place> = (0..100).filter_map(|n| places.take(1 + n % 4)).collect();
        assert_eq!(again.len(), 100);
        assert!(lost(&newcomers).is_empty());
        assert_eq!(places.lock().all.len(), CONNECTIONS);
        drop((held, newcomers, again));
        assert!(places.lock().all.is_empty(), "nothing is remembered of who has gone");
    }

    #[test]
    fn what_is_in_use_goes_last_and_never_for_its_own_user() {
        let places = Places::default();
        let held = full(&places);
        let _first: Vec<Call> = held[..CONNECTIONS_OF_ONE].iter().map(|place| place.calls.begin()).collect();
        assert!(places.take(1).is_none(), "all that it may have is in use");
        let two = places.take(2).expect("one of its own goes");
        assert_eq!(lost(&held), [CONNECTIONS_OF_ONE]);
        let _others: Vec<Call> = held[CONNECTIONS_OF_ONE..].iter().map(|place| place.calls.begin()).collect();
        let _two = two.calls.begin();
        let newcomer = places.take(99).expect("whoever holds most makes room");
        assert_eq!(lost(&held).len(), 2);
        let _call = newcomer.calls.begin();
        let refused = (1..=4).filter(|uid| places.take(*uid).is_none()).count();
        assert_eq!(refused, 4, "nobody has more than they");
    }

    /// Until the server closes a connection on which this was said.
    async fn seconds(said: &[u8]) -> u64 {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("open.sock");
        let server = OpenServer::bind(&path).expect("binds");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(Routes::default(), stop.clone()));
        let began = Instant::now();
        let mut stream = UnixStream::connect(&path).await.expect("connects");
        stream.write_all(said).await.expect("written");
        stream.read_to_end(&mut Vec::new()).await.expect("ends");
        let elapsed = began.elapsed().as_secs();
        stop.cancel();
        serving.await.expect("ends");
        elapsed
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_not_kept() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for said in [&b""[..], preface, &[&preface[..], &settings].concat()] {
            let stayed = seconds(said).await;
            assert!((FIRST_CALL.as_secs()..=FIRST_CALL.as_secs() + 2).contains(&stayed), "{stayed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_asked_and_asks_no_more_is_not_kept_for_long() {
        let calls = super::Calls::default();
        let (began, streaming) = (Instant::now(), calls.begin());
        let unused = super::unused(&calls);
        tokio::pin!(unused);
        let for_long = tokio::time::timeout(100 * IDLE, &mut unused).await;
        assert!(for_long.is_err(), "a stream goes on for as long as its caller likes");
        drop(streaming);
        let ended = began.elapsed();
        unused.await;
        let idle = began.elapsed() - ended;
        assert!((IDLE..=2 * IDLE).contains(&idle), "{idle:?}");
    }
}
