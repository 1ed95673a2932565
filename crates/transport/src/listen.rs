//! Listening sockets that outlive every accept error and hold strangers to a limit.
//!
//! Knows nothing of protocols. A connection occupies a [`Place`]; until its peer has proved who it is, it counts
//! against its address too, and can lose the place to a newcomer, so that one address cannot fill the service.

mod address;
mod members;
mod places;

pub use address::Listen;
pub use members::{Call, Calls};
pub use places::{Caps, Place};

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use crate::backoff::Backoff;
use places::{Dropped, Places};

/// So many connections are accepted in a row, then whoever is here has a turn.
const IN_A_ROW: u64 = 16;
/// How often the log has a line on connections that were dropped or turned away.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {reason}; {next}", next = next_step(.reason))]
pub struct BindError {
    /// Where.
    pub addr: SocketAddr,
    /// What the system said.
    #[source]
    pub reason: io::Error,
}

fn next_step(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "another process holds this port (see ss -ltnp): stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose one of its own or 0.0.0.0"
        }
        _ => "choose another address",
    }
}

/// A TCP listener with caps.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    addr: SocketAddr,
    places: Arc<Places>,
    accepted: AtomicU64,
    dropped: Mutex<Complaint>,
    turned_away: Mutex<Complaint>,
}

/// One accepted connection, with TCP_NODELAY and keep-alive set.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// Its other end.
    pub addr: SocketAddr,
    /// Held as long as the connection lives.
    pub place: Place,
}

impl Listener {
    /// Listens on an address; port 0 lets the system choose, see [`Self::local_addr`]. Or on one that was taken before.
    pub async fn bind(listen: impl Into<Listen>, caps: Caps) -> Result<Self, BindError> {
        let listen = listen.into();
        let opened = || {
            let tcp = listen.listen()?;
            let addr = tcp.local_addr()?;
            let (places, accepted) = (Places::new(caps), AtomicU64::new(0));
            Ok(Self { tcp, addr, places, accepted, dropped: Mutex::default(), turned_away: Mutex::default() })
        };
        opened().map_err(|reason| BindError { addr: listen.addr(), reason })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections held now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Connections turned away so far, because all places were taken by peers that had proved who they are.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.places.turned_away()
    }

    /// Connections so far that lost their places to newcomers before their peers had proved who they are.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.places.dropped()
    }

    /// The next connection. Errors of the system (no file descriptors left, aborted connections) are waited out. Above
    /// a cap of strangers another one loses its place, see [`Place::lost`].
    ///
    /// Not faster than they can be served: after a few in a row, all that can go on goes on first, and where half of the places of
    /// strangers are taken, members that prove who they are come in one for the other. Of thousands that come at once most
    /// wait with the system, then, in their order, and none loses its place to those behind it. Who says nothing holds nobody up.
    pub async fn accept(&self) -> Accepted {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            if self.accepted.fetch_add(1, Ordering::Relaxed) % IN_A_ROW == IN_A_ROW - 1 {
                tokio::task::yield_now().await;
            }
            self.places.turn().await;
            let (stream, addr) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.wait_out(&error, &mut backoff).await;
                    continue;
                }
            };
            let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            let Some((place, dropped)) = self.places.take(addr.ip()) else {
                self.complain_of_turning_away(addr);
                continue;
            };
            if let Some(dropped) = dropped {
                self.complain_of_dropping(dropped);
            }
            prepare(&stream);
            return Accepted { stream, addr, place };
        }
    }

    fn complain_of_dropping(&self, Dropped { source, held }: Dropped) {
        let due = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now());
        let Some(dropped) = due else { return };
        tracing::warn!(
            listener = %self.addr, %source, held, dropped,
            "too many connections that do not say who they are; dropping some of the source that has most"
        );
    }

    fn complain_of_turning_away(&self, addr: SocketAddr) {
        let due = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now());
        let Some(turned_away) = due else { return };
        tracing::warn!(
            listener = %self.addr, source = %addr.ip(), turned_away,
            "all places are taken; connections are turned away"
        );
    }

    async fn wait_out(&self, error: &io::Error, backoff: &mut Backoff) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        let wait = backoff.next_wait();
        tracing::warn!(listener = %self.addr, %error, ?wait, "cannot accept connections for now");
        tokio::time::sleep(wait).await;
    }
}

/// Sets what every connection of ours has: no delay of small writes, and dead peers noticed within minutes.
pub fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    // A socket that is already dead refuses these; the first read says so better than we could here.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}

/// When the log last had such a line, and what happened since.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
    since: u64,
}

impl Complaint {
    /// One more; how many there were since the last line, where it is time for the next.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < COMPLAINT) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::{BindError, COMPLAINT, Caps, Complaint, Listener};
    use futures_util::FutureExt;
    use std::net::SocketAddr;
    use std::time::Instant;
    use tokio::net::TcpStream;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_the_next_step() {
        let first = Listener::bind(loopback(), Caps::default()).await.expect("binds");
        let refused: BindError =
            Listener::bind(first.local_addr(), Caps::default()).await.expect_err("taken");
        let text = refused.to_string();
        assert!(text.contains(&first.local_addr().to_string()) && text.contains("another process"), "{text}");
    }

    #[test]
    fn the_log_has_one_line_in_a_while_and_none_is_uncounted() {
        let (mut complaint, start) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.one_more(start), Some(1));
        assert_eq!(complaint.one_more(start), None);
        assert_eq!(complaint.one_more(start + COMPLAINT / 2), None);
        assert_eq!(complaint.one_more(start + COMPLAINT), Some(3));
    }

    #[tokio::test]
    async fn thousands_of_half_open_connections_keep_nobody_out() {
        let caps = Caps { connections: 100, strangers: 16, strangers_per_address: 8, of_one_member: 9 };
        let listener = Listener::bind(loopback(), caps).await.expect("binds");
        let accept = async |from: [u8; 4]| {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::from((from, 0))).expect("bound");
            let client = socket.connect(listener.local_addr()).await.expect("connects");
            (client, listener.accept().await)
        };
        let (_member, mut member) = accept([127, 0, 0, 1]).await;
        member.place.known();
        let mut open = Vec::new();
        for _ in 0..1_000 {
            let (client, accepted) = accept([127, 0, 0, 1]).await;
            let lost = accepted.place.lost();
            // As services do: the connection lives until its place is lost.
            let life = tokio::spawn(async move {
                lost.await;
                drop(accepted);
            });
            open.push((client, life));
        }
        let mut lasting = Vec::new();
        for from in [[127, 0, 0, 2], [127, 0, 0, 1]] {
            let (client, mut accepted) = accept(from).await;
            accepted.place.known();
            lasting.push((client, accepted));
        }
        assert_eq!(member.place.lost().now_or_never(), None);
        assert_eq!((listener.dropped(), listener.turned_away()), (993, 0));
        let mut left = open.len();
        while left > 7 {
            tokio::task::yield_now().await;
            left = open.iter().filter(|(_, life)| !life.is_finished()).count();
        }
    }

    #[tokio::test]
    async fn accepted_connections_do_not_delay_small_writes() {
        let listener = Listener::bind(loopback(), Caps::default()).await.expect("binds");
        let _client = TcpStream::connect(listener.local_addr()).await.expect("connects");
        let accepted = listener.accept().await;
        assert!(accepted.stream.nodelay().expect("readable"));
        assert_eq!(listener.connections(), 1);
        drop(accepted);
        assert_eq!(listener.connections(), 0);
    }
}
