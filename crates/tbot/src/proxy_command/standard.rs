//! Standard input and output without a thread in between, where they are pipes, as OpenSSH's are.
//!
//! Nothing here changes a flag of a descriptor that this process was given: others may hold the same open file, and
//! `O_NONBLOCK` would surprise them. A pipe is opened anew through `/proc`. Everything else (a terminal, a file, a
//! socket) goes through threads that may block.

use rustix::fs::{self, FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

/// Standard input.
pub enum Input {
    /// A pipe.
    Pipe(Receiver),
    /// Anything else.
    Blocking(tokio::io::Stdin),
}

/// Standard output.
pub enum Output {
    /// A pipe.
    Pipe(Rc<Sender>),
    /// Anything else.
    Blocking(tokio::io::Stdout),
}

impl Input {
    /// This process' own.
    pub fn open() -> Self {
        let pipe = open_anew(rustix::stdio::stdin(), OFlags::RDONLY);
        match pipe.and_then(|pipe| Receiver::from_owned_fd(pipe).ok()) {
            Some(pipe) => Self::Pipe(pipe),
            None => Self::Blocking(tokio::io::stdin()),
        }
    }
}

impl Output {
    /// This process' own.
    pub fn open() -> Self {
        let pipe = open_anew(rustix::stdio::stdout(), OFlags::WRONLY);
        match pipe.and_then(|pipe| Sender::from_owned_fd(pipe).ok()) {
            Some(pipe) => Self::Pipe(Rc::new(pipe)),
            None => Self::Blocking(tokio::io::stdout()),
        }
    }

    /// Resolves when nobody will read any more; never where that cannot be seen. The reader does not see the end of
    /// output as long as this is held.
    pub fn abandoned(&self) -> impl Future<Output = ()> + use<> {
        let pipe = match self {
            Self::Pipe(pipe) => Some(Rc::clone(pipe)),
            Self::Blocking(_) => None,
        };
        async move {
            match pipe {
                Some(pipe) => drop(pipe.ready(Interest::ERROR).await),
                None => std::future::pending().await,
            }
        }
    }
}

/// The same pipe, as an open file of our own that does not block.
fn open_anew(given: BorrowedFd<'_>, access: OFlags) -> Option<OwnedFd> {
    let mode = fs::fstat(given).ok()?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::Fifo {
        return None;
    }
    let path = format!("/proc/self/fd/{}", given.as_raw_fd());
    fs::open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Self::Blocking(stdin) => Pin::new(stdin).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pipe = match self.get_mut() {
            Self::Pipe(pipe) => pipe,
            Self::Blocking(stdout) => return Pin::new(stdout).poll_write(cx, bytes),
        };
        loop {
            ready!(pipe.poll_write_ready(cx))?;
            match pipe.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(_) => Poll::Ready(Ok(())),
            Self::Blocking(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }

    /// Lets the reader see the end now, not when this process ends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Self::Blocking(stdout) = this {
            return Pin::new(stdout).poll_shutdown(cx);
        }
        let nowhere = fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdout(&nowhere)?;
        // The handle of our own was the last.
        *this = Self::Blocking(tokio::io::stdout());
        Poll::Ready(Ok(()))
    }
}
