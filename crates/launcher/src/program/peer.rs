//! A client's connection, and the node itself, in the kernel's words.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_cookie, socket_type};
use rustix::net::{SocketType, getpeername, getsockname};
use rustix::process::getppid;

fn hung_up(socket: &OwnedFd) -> Option<bool> {
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut asked, Some(&Timespec::default())).ok()?;
    Some(asked[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}

/// The user as whom the node opens things at this moment: it has started this process, and then become another user.
pub(super) fn node_user() -> Option<u32> {
    let status = std::fs::read(format!("/proc/{}/status", getppid()?.as_raw_pid())).ok()?;
    // The name of the process, in the first line, is escaped.
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    // Real, effective, saved, and the one that files are made with (`proc_pid_status(5)`).
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Which connection, and between whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// The kernel's own number for the socket, which no other ever has.
    cookie: u64,
    /// The client.
    pub(super) remote: SocketAddr,
    /// This host.
    pub(super) local: SocketAddr,
}

impl Peer {
    /// Of a connected TCP socket whose other side has not closed it.
    pub(super) fn of(socket: &OwnedFd) -> Option<Self> {
        if socket_type(socket).ok()? != SocketType::STREAM {
            return None;
        }
        let remote = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
        let local = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
        (!hung_up(socket)?).then_some(Self { cookie: socket_cookie(socket).ok()?, remote, local })
    }

    /// Whether this is the descriptor of that connection, and nobody is there any more.
    pub(super) fn is_over(&self, socket: &OwnedFd) -> bool {
        socket_cookie(socket) == Ok(self.cookie) && hung_up(socket) == Some(true)
    }
}
