//! A stream whose first bytes were looked at and are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream with the bytes that were read ahead of it.
#[derive(Debug)]
pub struct Rewind<S> {
    ahead: Vec<u8>,
    taken: usize,
    inner: S,
}

impl<S> Rewind<S> {
    /// Nothing read ahead yet.
    pub fn new(inner: S) -> Self {
        Self { ahead: Vec::new(), taken: 0, inner }
    }

    /// The stream itself; bytes read ahead are still only in `self`.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What was read ahead and not taken yet.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    /// Drops the next `count` bytes read ahead.
    pub(super) fn discard(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.ahead.len());
    }
}

impl<S: AsyncRead + Unpin> Rewind<S> {
    /// Waits for the first bytes of the stream, which must be `start`; they stay unread.
    pub async fn starting_with(inner: S, start: &[u8]) -> io::Result<Self> {
        let mut stream = Self::new(inner);
        for length in 1..=start.len() {
            stream.fill_to(length).await?;
            if !stream.buffered().starts_with(&start[..length]) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the first bytes are others than expected",
                ));
            }
        }
        Ok(stream)
    }

    /// Reads ahead until at least `count` bytes are there, and few more than that.
    pub(crate) async fn fill_to(&mut self, count: usize) -> io::Result<()> {
        while self.buffered().len() < count {
            self.fill_more(count.max(64)).await?;
        }
        Ok(())
    }

    /// Reads ahead once, up to `limit` bytes in all.
    pub(super) async fn fill_more(&mut self, limit: usize) -> io::Result<()> {
        let room = limit.saturating_sub(self.buffered().len()).min(4096);
        let start = self.ahead.len();
        self.ahead.resize(start + room, 0);
        let read = self.inner.read(&mut self.ahead[start..]).await;
        self.ahead.truncate(start + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let count = self.buffered().len().min(buffer.remaining());
        buffer.put_slice(&self.buffered()[..count]);
        self.discard(count);
        if self.buffered().is_empty() {
            // Give the memory back: the connection may live for days.
            self.ahead = Vec::new();
            self.taken = 0;
            if count == 0 {
                return Pin::new(&mut self.inner).poll_read(context, buffer);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
