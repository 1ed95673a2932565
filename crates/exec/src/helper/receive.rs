//! Step 2: the request and the three descriptors that come with it.
//!
//! The descriptors travel in the socket's ancillary data, so the node needs no inheritable descriptor at any moment:
//! nothing that another thread of it starts at the same time can catch one.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown, recvmsg, send, shutdown,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin};

use crate::request::{MAX_BYTES, RequestError, SessionRequest};

/// How many descriptors a request brings: standard input, output and error.
pub(crate) const DESCRIPTORS: usize = 3;

/// The way back to the node. Closes by itself when the shell is executed, which is how the node knows that it was.
pub(super) struct Control(OwnedFd);

impl Control {
    /// Tells the node; a node that has gone away is an error, never a signal.
    pub(super) fn say(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = rustix::io::retry_on_intr(|| send(&self.0, bytes, SendFlags::NOSIGNAL))?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says that nothing more will be said: the session runs. What it says from here on is for its user.
    pub(super) fn finish(&self) {
        // Where the node is gone there is nobody to tell.
        let _ = shutdown(&self.0, Shutdown::Write);
    }

    /// Closes this process's copy; for a process that does not become the session.
    pub(super) fn let_go(&mut self) -> io::Result<()> {
        let nothing = File::open("/dev/null")?;
        self.0 = nothing.into();
        Ok(())
    }
}

/// Takes the request from standard input and puts the session's descriptors in the place of 0, 1 and 2. The outer error
/// is a broken channel; the inner one is a request that can be answered.
pub(super) fn receive() -> io::Result<(Control, Result<SessionRequest, RequestError>)> {
    let mut socket = UnixStream::from(fcntl_dupfd_cloexec(stdin(), 3)?);
    let (length, descriptors) = receive_head(&socket)?;
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the request is too large"));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    let [input, output, error] = descriptors;
    dup2_stdin(input)?;
    dup2_stdout(output)?;
    dup2_stderr(error)?;
    Ok((Control(socket.into()), SessionRequest::decode(&bytes)))
}

fn receive_head(socket: &UnixStream) -> io::Result<(usize, [OwnedFd; DESCRIPTORS])> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut head)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(
            |message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None },
        )
        .flatten()
        .collect();
    let descriptors =
        descriptors.try_into().map_err(|_| io::Error::other("it did not bring three descriptors"))?;
    if received.bytes != head.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((length, descriptors))
}
