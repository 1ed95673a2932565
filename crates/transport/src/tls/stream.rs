//! One TLS connection, client or server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::NamedGroup;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

/// An encrypted, authenticated stream of bytes.
#[derive(Debug)]
pub struct SecureStream<S> {
    inner: TlsStream<S>,
}

impl<S> SecureStream<S> {
    pub(super) fn new(inner: impl Into<TlsStream<S>>) -> Self {
        Self { inner: inner.into() }
    }

    /// The protocol that both sides agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        self.inner.get_ref().1.alpn_protocol()
    }

    /// Whether a recording of it stays secret when somebody has a quantum computer.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        let group = self.inner.get_ref().1.negotiated_key_exchange_group();
        group.is_some_and(|group| group.name() == NamedGroup::X25519MLKEM768)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SecureStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            // Peers that just close their socket end the stream; what is inside has its own framing.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SecureStream<S> {
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
