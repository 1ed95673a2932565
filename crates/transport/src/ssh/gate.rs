//! The stream under the engine: counts, holds reading back while too much waits, and fails once the connection is cut.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::flow::Flow;

pub(super) struct Gate<IO> {
    io: IO,
    flow: Arc<Flow>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<IO> Gate<IO> {
    pub(super) fn new(io: IO, flow: Arc<Flow>) -> Self {
        let cut = Box::pin(flow.cut.clone().cancelled_owned());
        Self { io, flow, cut }
    }

    /// Registers the task with the switch, so that a cut wakes whatever waits for the socket.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn may_read(&self, cx: &mut Context<'_>) -> bool {
        if !self.flow.is_full() {
            self.flow.hold(false);
            return true;
        }
        self.flow.room.register(cx.waker());
        // A reader may have made room between the two looks.
        let full = self.flow.is_full();
        self.flow.hold(full);
        !full
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gate<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        if !self.may_read(cx) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.flow.count_received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gate<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.flow.count_sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
