//! Carries bytes between a channel and a session's pipes or terminal, never more than the client grants window for.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use exec::SessionIo;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use transport::ssh::{ChannelClosed, Reader, Writer};

/// How much memory is taken for reading at once.
const BLOCK: usize = 64 << 10;
/// With less room than this left, a new block is taken.
const LEAST: usize = 8 << 10;
/// Through a pipe that gets more room, so many bytes have gone.
const MUCH: usize = 1 << 20;
/// The room that it gets.
const WIDE: i32 = 256 << 10;

/// The master side of a terminal, used by the pumps and for changes of its size.
pub(super) type Terminal = Arc<AsyncFd<OwnedFd>>;

/// The node's ends of a session, ready for the runtime.
pub(super) enum Ends {
    Pipes { stdin: pipe::Sender, stdout: pipe::Receiver, stderr: pipe::Receiver },
    Terminal(Terminal),
}

impl Ends {
    /// With the socket for the records of what runs, if it makes any.
    pub(super) fn new(io: SessionIo) -> io::Result<(Self, Option<OwnedFd>)> {
        Ok(match io {
            SessionIo::Pipes { stdin, stdout, stderr, records } => {
                let ends = Self::Pipes {
                    stdin: pipe::Sender::from_owned_fd(stdin)?,
                    stdout: pipe::Receiver::from_owned_fd(stdout)?,
                    stderr: pipe::Receiver::from_owned_fd(stderr)?,
                };
                (ends, records)
            }
            SessionIo::Pty { master } => (Self::Terminal(Arc::new(watched(master)?)), None),
            SessionIo::Sockets { .. } => return Err(io::Error::other("a session has input and output")),
        })
    }
}

/// A descriptor that the runtime watches.
#[expect(
    deprecated,
    reason = "the other constructor is unsafe for types whose descriptor can change; an OwnedFd's cannot"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)
}

/// From the client to the session, until the client has sent everything or the session takes no more. Both halves are
/// let go then: what the client still sends is dropped, and the session reads an end of file.
pub(super) async fn into_pipe(mut reader: Reader, mut stdin: pipe::Sender) {
    let mut width = Width::default();
    while let Some(data) = reader.data().await {
        if stdin.write_all(&data).await.is_err() {
            return;
        }
        width.count(data.len(), &stdin);
    }
}

/// Gives a pipe more room once much has gone through it: its two ends wake each other less often then. Those of other
/// sessions take no more memory than they need.
#[derive(Default)]
struct Width {
    gone: usize,
}

impl Width {
    fn count(&mut self, more: usize, pipe: &impl AsFd) {
        let before = self.gone;
        self.gone = before.saturating_add(more);
        if before < MUCH && self.gone >= MUCH {
            // One that may not grow does its work as well, only slower.
            let _ = exec::enlarge_pipe(pipe.as_fd(), WIDE);
        }
    }
}

/// From the client to the terminal. The end of the client's input is not one of the terminal's: the session decides
/// what it does without more.
pub(super) async fn into_terminal(mut reader: Reader, terminal: Terminal) {
    while let Some(data) = reader.data().await {
        let mut rest: &[u8] = &data;
        while !rest.is_empty() {
            let written = terminal
                .async_io(Interest::WRITABLE, |master| {
                    rustix::io::write(master, rest).map_err(io::Error::from)
                })
                .await;
            match written {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Which stream of the client a pipe belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Output,
    Errors,
}

/// From a pipe to the client, until every process has closed it.
pub(super) async fn from_pipe(mut pipe: pipe::Receiver, stream: Stream, writer: &Writer) {
    let mut buffer = BytesMut::new();
    let mut width = Width::default();
    loop {
        make_room(&mut buffer);
        match pipe.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => width.count(count, &pipe),
        }
        if send(&mut buffer, stream, writer).await.is_err() {
            return;
        }
    }
}

/// From the terminal to the client, until the session has closed it.
pub(super) async fn from_terminal(terminal: Terminal, writer: &Writer) {
    let mut buffer = BytesMut::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = terminal
            .async_io(Interest::READABLE, |master| {
                rustix::io::read(master, &mut block[..]).map_err(io::Error::from)
            })
            .await;
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // EIO is how a terminal says that nobody is on its other side any more.
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&block[..count]),
        }
        if send(&mut buffer, Stream::Output, writer).await.is_err() {
            return;
        }
    }
}

fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < LEAST {
        buffer.reserve(BLOCK);
    }
}

async fn send(buffer: &mut BytesMut, stream: Stream, writer: &Writer) -> Result<(), ChannelClosed> {
    let data: Bytes = buffer.split().freeze();
    match stream {
        Stream::Output => writer.data(data).await,
        Stream::Errors => writer.stderr(data).await,
    }
}
