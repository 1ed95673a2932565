//! The stream under the engine: counts, slows or stops reading while too much waits, and fails once the connection is
//! cut.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::flow::Flow;

/// At a walking pace, so much is read in each [`STEP`]: enough for requests and window adjustments of other channels.
const STRIDE: usize = 1 << 10;
const STEP: Duration = Duration::from_millis(10);

pub(super) struct Gate<IO> {
    io: IO,
    flow: Arc<Flow>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What is left of this step, and the pause until the next.
    stride: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<IO> Gate<IO> {
    pub(super) fn new(io: IO, flow: Arc<Flow>) -> Self {
        let cut = Box::pin(flow.cut.clone().cancelled_owned());
        Self { io, flow, cut, stride: STRIDE, pause: None }
    }

    /// Registers the task with the switch, so that a cut wakes whatever waits for the socket.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.flow.is_full() {
            self.flow.hold(false);
            return !self.flow.is_paced() || self.may_walk(cx);
        }
        self.flow.room.register(cx.waker());
        // A reader may have made room between the two looks.
        let full = self.flow.is_full();
        self.flow.hold(full);
        !full
    }

    /// Reading goes on with the next step, or at once when there is room again.
    fn may_walk(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stride > 0 {
            return true;
        }
        self.flow.room.register(cx.waker());
        if !self.flow.is_paced() {
            return true;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(STEP)));
        if pause.as_mut().poll(cx).is_pending() {
            return false;
        }
        pause.as_mut().reset(Instant::now() + STEP);
        self.stride = STRIDE;
        true
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
        let read = buffer.filled().len() - before;
        self.stride = self.stride.saturating_sub(read);
        self.flow.count_received(read);
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
