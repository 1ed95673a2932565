//! Listening sockets that outlive every accept error and hold strangers to a limit.
//!
//! Knows nothing of protocols. A connection occupies a [`Place`]; until its peer has proved who it is, it counts
//! against its address too, so that one address cannot fill the service.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::backoff::Backoff;

/// How many connections a listener holds.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// At once, from everywhere.
    pub connections: usize,
    /// At once from everywhere, of peers that have not proved who they are: well below `connections`, so that they
    /// cannot keep out those who can prove it.
    pub strangers: usize,
    /// At once from one address (IPv6: one /64), of peers that have not proved who they are.
    pub strangers_per_address: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 20_000, strangers: 4_096, strangers_per_address: 256 }
    }
}

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
    caps: Caps,
    places: Arc<Places>,
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
    /// Listens on `addr`; port 0 lets the system choose, see [`Self::local_addr`].
    pub async fn bind(addr: SocketAddr, caps: Caps) -> Result<Self, BindError> {
        let opened = async {
            let tcp = TcpListener::bind(addr).await?;
            let addr = tcp.local_addr()?;
            Ok(Self { tcp, addr, caps, places: Arc::new(Places::default()) })
        };
        opened.await.map_err(|reason| BindError { addr, reason })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections held now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.taken.load(Ordering::Relaxed)
    }

    /// Connections turned away so far because of a cap.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.places.turned_away.load(Ordering::Relaxed)
    }

    /// The next connection. Errors of the system (no file descriptors left, aborted connections) are waited out;
    /// connections above a cap are closed.
    pub async fn accept(&self) -> Accepted {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let (stream, addr) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.wait_out(&error, &mut backoff).await;
                    continue;
                }
            };
            let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            let Some(place) = Place::take(&self.places, self.caps, addr.ip()) else {
                tracing::debug!(%addr, listener = %self.addr, "connection turned away: too many");
                continue;
            };
            prepare(&stream);
            return Accepted { stream, addr, place };
        }
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

#[derive(Debug, Default)]
struct Places {
    taken: AtomicUsize,
    turned_away: AtomicU64,
    strangers: Mutex<Strangers>,
}

#[derive(Debug, Default)]
struct Strangers {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A connection's place within the caps; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    stranger: Option<IpAddr>,
}

impl Place {
    fn take(places: &Arc<Places>, caps: Caps, ip: IpAddr) -> Option<Self> {
        if places.taken.fetch_add(1, Ordering::Relaxed) >= caps.connections {
            places.turn_away();
            return None;
        }
        let source = source_of(ip);
        let mut strangers = places.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let from_here = strangers.by_source.get(&source).copied().unwrap_or(0);
        if strangers.all >= caps.strangers || from_here >= caps.strangers_per_address {
            drop(strangers);
            places.turn_away();
            return None;
        }
        strangers.all += 1;
        strangers.by_source.insert(source, from_here + 1);
        drop(strangers);
        Some(Self { places: Arc::clone(places), stranger: Some(source) })
    }

    /// The peer has proved who it is: it no longer counts as a stranger.
    pub fn known(&mut self) {
        let Some(source) = self.stranger.take() else { return };
        let mut strangers = self.places.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.all -= 1;
        if let Some(count) = strangers.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                strangers.by_source.remove(&source);
            }
        }
    }
}

impl Places {
    fn turn_away(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known();
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One subscriber of an IPv6 provider holds at least a /64.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BindError, Caps, Listener, Place, Places};
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Arc;
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
    fn strangers_are_held_to_their_cap_and_the_known_are_not() {
        let places = Arc::new(Places::default());
        let caps = Caps { connections: 4, strangers: 4, strangers_per_address: 2 };
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let mut one = Place::take(&places, caps, ip("10.0.0.1")).expect("first");
        let two = Place::take(&places, caps, ip("10.0.0.1")).expect("second");
        assert!(Place::take(&places, caps, ip("10.0.0.1")).is_none());
        one.known();
        let three = Place::take(&places, caps, ip("10.0.0.1")).expect("a known one made room");
        let four = Place::take(&places, caps, ip("2001:db8::1")).expect("another address");
        assert!(Place::take(&places, caps, ip("2001:db8::2")).is_none(), "the global cap");
        drop((one, two, three));
        let five = Place::take(&places, caps, ip("2001:db8::2")).expect("room");
        assert!(Place::take(&places, caps, ip("2001:db8::3")).is_none(), "one /64 is one source");
        drop((four, five));
        assert!(places.strangers.lock().expect("lock").by_source.is_empty());
        assert_eq!(places.taken.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn strangers_from_everywhere_leave_room_for_the_known() {
        let places = Arc::new(Places::default());
        let caps = Caps { connections: 4, strangers: 2, strangers_per_address: 2 };
        let take = |last: u8| Place::take(&places, caps, IpAddr::from([10, 0, 0, last]));
        let (mut one, two) = (take(1).expect("first"), take(2).expect("second"));
        assert!(take(3).is_none(), "two strangers are here already");
        one.known();
        let three = take(3).expect("a known one made room");
        assert!(take(4).is_none());
        drop((one, two, three));
        assert_eq!(places.strangers.lock().expect("lock").all, 0);
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
