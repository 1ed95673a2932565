//! The byte stream under a connection, with what has come in and what is to go out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::meter::Meter;

/// The input's room while little comes: an idle connection costs no more.
const LEAST: usize = 4 << 10;
/// And while much does: a read of this size costs little besides its copy.
const MOST: usize = 256 << 10;
/// The output keeps no more room than this once little goes out. To give it back after each burst would cost more than
/// the burst.
const KEPT: usize = 16 << 10;

pub(super) struct Wire<IO> {
    io: IO,
    meter: Arc<Meter>,
    input: Vec<u8>,
    /// How much of the input is filled.
    filled: usize,
    last_read: usize,
    /// What is being sent, and how much of it was.
    output: Vec<u8>,
    written: usize,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn new(io: IO, meter: Arc<Meter>) -> Self {
        Self { io, meter, input: vec![0; LEAST], filled: 0, last_read: 0, output: Vec::new(), written: 0 }
    }

    /// Shows what has come in to somebody who takes some of it, and says whether any was taken.
    pub(super) fn offer<E>(&mut self, take: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<bool, E> {
        if self.filled == 0 {
            return Ok(false);
        }
        let taken = take(&mut self.input[..self.filled])?;
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(taken > 0)
    }

    /// Lets somebody put what is to be sent, once everything before is.
    pub(super) fn collect(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.output.is_empty() {
            put(&mut self.output);
        }
    }

    /// Sends what there is.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.written += written;
                    self.meter.sent(written);
                }
            }
        }
        if !self.output.is_empty() {
            let little = self.output.len() < KEPT;
            self.output.clear();
            self.written = 0;
            if little {
                self.output.shrink_to(KEPT);
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Reads once; 0 is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.filled == self.input.len() {
            let room = (self.input.len() * 2).min(MOST);
            self.input.resize(room, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.filled..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        match polled {
            Poll::Ready(outcome) => {
                outcome?;
                self.filled += read;
                self.last_read = read;
                self.meter.received(read);
                Poll::Ready(Ok(read))
            }
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
        }
    }

    /// Whether there is room for more input.
    pub(super) fn has_room(&self) -> bool {
        self.filled < MOST
    }

    /// Nothing comes for now: room that a burst needed is given back once little comes.
    fn rest(&mut self) {
        if self.filled == 0 && self.input.len() > LEAST && self.last_read < LEAST {
            self.input = vec![0; LEAST];
        }
    }

    pub(super) async fn send(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx)).await
    }

    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Sends what is left, says that nothing follows, and waits until the peer says the same: closed earlier, the
    /// network would throw our last words away.
    pub(super) async fn farewell(mut self) {
        if self.send().await.is_err() || self.io.shutdown().await.is_err() {
            return;
        }
        loop {
            self.filled = 0;
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}
