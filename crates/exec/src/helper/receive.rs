//! Step 2: the request and the descriptors that come with it.
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

use crate::request::{Launch, MAX_BYTES, RequestError, SessionRequest};

/// The most descriptors that a request brings: standard input, output and error, and the socket for the SFTP server's
/// records.
pub(crate) const MOST_DESCRIPTORS: usize = 4;

/// The way back to the node. Closes by itself when the shell is executed, which is how the node knows that it was.
pub(super) struct Control {
    socket: OwnedFd,
    /// Where the SFTP server's records go; present if and only if that is what the request asks for.
    records: Option<UnixStream>,
}

impl Control {
    /// Tells the node; a node that has gone away is an error, never a signal.
    pub(super) fn say(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = rustix::io::retry_on_intr(|| send(&self.socket, bytes, SendFlags::NOSIGNAL))?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says that nothing more will be said: the session runs. What it says from here on is for its user.
    pub(super) fn finish(&self) {
        // Where the node is gone there is nobody to tell.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// Closes this process's copy; for a process that does not become the session.
    pub(super) fn let_go(&mut self) -> io::Result<()> {
        let nothing = File::open("/dev/null")?;
        self.socket = nothing.into();
        self.records = None;
        Ok(())
    }

    /// Closes it, but for what the SFTP server goes on with.
    pub(super) fn into_records(self) -> Option<UnixStream> {
        self.records
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
    let request = SessionRequest::decode(&bytes);
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::other("it brought too few descriptors"));
    dup2_stdin(next()?)?;
    dup2_stdout(next()?)?;
    dup2_stderr(next()?)?;
    let is_sftp = matches!(&request, Ok(request) if request.launch == Launch::Sftp);
    let records = if is_sftp { Some(UnixStream::from(next()?)) } else { None };
    if request.is_ok() && descriptors.next().is_some() {
        return Err(io::Error::other("it brought more descriptors than the session has"));
    }
    Ok((Control { socket: socket.into(), records }, request))
}

fn receive_head(socket: &UnixStream) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
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
    if received.bytes != head.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((length, descriptors))
}
