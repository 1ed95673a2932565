//! Listening, as the user.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::process::geteuid;

use super::keeper::Kept;
use super::{Refusal, RefusalKind};

/// Ports below are for root, as for any program.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Whatever a client asks for, as with OpenSSH's default, it gets the loopback interface; where it names no address in
/// particular, in both families.
pub(super) fn tcp(address: &str, port: u16) -> Result<(Vec<OwnedFd>, u16), Refusal> {
    if (1..FIRST_UNPRIVILEGED).contains(&port) && !geteuid().is_root() {
        return Err(Refusal::new(RefusalKind::PrivilegedPort, format!("port {port} is for root only")));
    }
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let wanted: &[IpAddr] = match address {
        "" | "*" | "localhost" | "0.0.0.0" | "::" => &[v4, v6],
        "127.0.0.1" => &[v4],
        "::1" => &[v6],
        _ => {
            return Err(refuse(format!("cannot listen on {address:?}; only on the loopback interface")));
        }
    };
    let mut sockets: Vec<TcpListener> = Vec::new();
    let (mut bound, mut failure) = (port, String::new());
    for ip in wanted {
        let at = SocketAddr::new(*ip, bound);
        match TcpListener::bind(at) {
            Ok(socket) => {
                bound = socket.local_addr().map_or(bound, |address| address.port());
                sockets.push(socket);
            }
            Err(error) => failure = format!("cannot listen on {at}: {error}"),
        }
    }
    if sockets.is_empty() {
        return Err(refuse(failure));
    }
    Ok((sockets.into_iter().map(OwnedFd::from).collect(), bound))
}

/// A socket at a path of the client's choice, for the user alone: the mask of this process sees to that. What is there
/// already stays, whatever it is, and is a refusal.
pub(super) fn unix(path: &[u8]) -> Result<(OwnedFd, Kept), Refusal> {
    let path = PathBuf::from(OsStr::from_bytes(path));
    let listener = UnixListener::bind(&path)
        .map_err(|error| refuse(format!("cannot listen on {}: {error}", path.display())))?;
    Ok((listener.into(), Kept::socket(path)))
}

fn refuse(words: String) -> Refusal {
    Refusal::new(RefusalKind::CannotListen, words)
}
