//! Connecting, as the user. Name services and remote hosts take their time; every call here has a thread of its own.

use std::ffi::OsStr;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{Refusal, RefusalKind};

/// How long connecting may take in all.
const DEADLINE: Duration = Duration::from_secs(30);
/// Each of several addresses gets its part of that, and so long at least.
const LEAST: Duration = Duration::from_secs(5);

/// Connects to the first address of this host that answers.
pub(super) fn tcp(host: &str, port: u16) -> Result<OwnedFd, Refusal> {
    let until = Instant::now() + DEADLINE;
    let mut addresses = (host, port).to_socket_addrs().map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.next() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let waiting = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
        match TcpStream::connect_timeout(&address, left.min(LEAST.max(left / waiting))) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream.into());
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Connects to the socket at this path.
pub(super) fn unix(path: &[u8]) -> Result<OwnedFd, Refusal> {
    UnixStream::connect(OsStr::from_bytes(path)).map(OwnedFd::from).map_err(failed)
}

fn failed(error: impl std::borrow::Borrow<io::Error>) -> Refusal {
    // The client reads it where sshd would say the same without a number.
    let words = error.borrow().to_string();
    Refusal::new(RefusalKind::ConnectFailed, words.split(" (os error").next().unwrap_or_default())
}
