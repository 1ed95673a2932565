//! Only SSH goes to a node: the first bytes in both directions must be `SSH-`.
//!
//! Without this, a caller could send a PROXY header to the node first and pretend to come from elsewhere, and a node
//! could register the address of something that is no SSH server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const START: &[u8] = b"SSH-";

/// The connection to a node. Writing anything that does not start like SSH is an error, and nothing of it is sent.
#[derive(Debug)]
pub(crate) struct SshBytes<S> {
    inner: S,
    /// How many bytes of [`START`] were written.
    written: usize,
}

impl<S> SshBytes<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, written: 0 }
    }

    fn check(&self, bytes: &[u8]) -> io::Result<()> {
        let wanted = &START[self.written..];
        let length = wanted.len().min(bytes.len());
        match bytes[..length] == wanted[..length] {
            true => Ok(()),
            false => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, "the client's first bytes are not SSH"))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SshBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SshBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.written < START.len() {
            self.check(bytes)?;
        }
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.written = START.len().min(self.written + written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::SshBytes;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn lets_ssh_through_in_any_pieces_and_nothing_else() {
        for (pieces, sent) in [
            (&[&b"SSH-2.0-x\r\n"[..], b"PROXY"][..], &b"SSH-2.0-x\r\nPROXY"[..]),
            (&[b"S", b"SH", b"-2", b"anything"], b"SSH-2anything"),
            (&[b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nSSH-"], b""),
            (&[b"\r\n\r\n\0\r\nQUIT\n"], b""),
            (&[b"SS", b"X"], b"SS"),
            (&[b"ssh-"], b""),
        ] {
            let mut guarded = SshBytes::new(Vec::new());
            for piece in pieces {
                if guarded.write_all(piece).await.is_err() {
                    break;
                }
            }
            assert_eq!(guarded.inner, sent, "{pieces:?}");
        }
    }
}
