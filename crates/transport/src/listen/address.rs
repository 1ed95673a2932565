//! Where to listen: an address, or a port that was taken already, by a process that could take it and can no longer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use tokio::net::TcpListener;

use super::BindError;

/// Connections that wait for being accepted; the system may allow fewer. As many as hands can be shaken with before the first of
/// them gives up: of whoever finds no place the system hears again only after a second and more.
const BACKLOG: i32 = 4096;

/// Where a service listens.
#[derive(Debug, Clone)]
pub struct Listen {
    addr: SocketAddr,
    taken: Option<Arc<Mutex<Option<OwnedFd>>>>,
}

impl From<SocketAddr> for Listen {
    /// The address is taken by the listener, in its time.
    fn from(addr: SocketAddr) -> Self {
        Self { addr, taken: None }
    }
}

impl Listen {
    /// Takes the address now, for one listener. Who connects is refused until there is that listener, and again when it
    /// has gone.
    ///
    /// # Errors
    /// When the address is taken, not allowed, or not of this machine.
    pub fn take(addr: SocketAddr) -> Result<Self, BindError> {
        let taken = socket(addr).and_then(|socket| Ok((local_address(&socket)?, socket)));
        let (addr, socket) = taken.map_err(|reason| BindError { addr, reason })?;
        Ok(Self { addr, taken: Some(Arc::new(Mutex::new(Some(socket)))) })
    }

    /// The address; with its port where that was chosen by the system already.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens, once for a port that was taken.
    ///
    /// # Errors
    /// When the address is taken, not allowed, or not of this machine.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let taken =
            self.taken.as_ref().and_then(|taken| taken.lock().unwrap_or_else(PoisonError::into_inner).take());
        let socket = match taken {
            Some(taken) => taken,
            None => socket(self.addr)?,
        };
        listen(&socket, BACKLOG)?;
        TcpListener::from_std(socket.into())
    }
}

fn socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections of a former process that are on their way out do not hold the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &addr)?;
    Ok(socket)
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(rustix::net::getsockname(socket)?.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::Listen;
    use crate::listen::{Caps, Listener};
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[tokio::test]
    async fn a_port_that_is_taken_early_serves_one_listener_and_nobody_before_and_after() {
        let listen = Listen::take(SocketAddr::from(([127, 0, 0, 1], 0))).expect("is free");
        let addr = listen.addr();
        assert_ne!(addr.port(), 0);
        let refused = || TcpStream::connect(addr).expect_err("nobody listens").kind();
        assert_eq!(refused(), ErrorKind::ConnectionRefused);
        let copy = listen.clone();
        let listener = Listener::bind(listen, Caps::default()).await.expect("listens");
        assert_eq!(listener.local_addr(), addr);
        TcpStream::connect(addr).expect("connects");
        drop(listener);
        assert_eq!(refused(), ErrorKind::ConnectionRefused, "also while the way to listen is remembered");
        drop(copy);
    }

    #[test]
    fn a_port_of_others_is_not_taken() {
        let other = TcpListener::bind("127.0.0.1:0").expect("binds");
        let refused = Listen::take(other.local_addr().expect("bound")).expect_err("is taken");
        assert_eq!(refused.reason.kind(), ErrorKind::AddrInUse);
    }
}
