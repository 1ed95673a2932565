//! Descriptors that came from the helper, looked at before they are used: it runs as the user, and what it sends is the
//! user's word.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A connection of either family.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A listener of either family.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Stream {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(match is_unix(&descriptor, false)? {
            true => Self::Unix(UnixStream::from_std(descriptor.into())?),
            false => Self::Tcp(TcpStream::from_std(descriptor.into())?),
        })
    }
}

impl Listener {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(match is_unix(&descriptor, true)? {
            true => Self::Unix(UnixListener::from_std(descriptor.into())?),
            false => Self::Tcp(TcpListener::from_std(descriptor.into())?),
        })
    }

    /// The next connection; where from, if that has an address.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// Whether it is of the one family or the other; one that is neither, or not what it should be, is an error.
fn is_unix(descriptor: &OwnedFd, listening: bool) -> io::Result<bool> {
    let family = socket_domain(descriptor)?;
    let is_known = [AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6].contains(&family);
    let is_stream = socket_type(descriptor)? == SocketType::STREAM;
    if !is_known || !is_stream || socket_acceptconn(descriptor)? != listening {
        return Err(io::Error::other("the helper sent a socket of another kind"));
    }
    ioctl_fionbio(descriptor, true)?;
    Ok(family == AddressFamily::UNIX)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither has a buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::{Listener, Stream};

    #[tokio::test]
    async fn what_is_no_connection_is_not_used_as_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = || UnixListener::bind(directory.path().join(uuid::Uuid::new_v4().to_string()));
        Stream::new(listener().expect("bound").into()).expect_err("it listens");
        Listener::new(listener().expect("bound").into()).expect("it listens");
        Stream::new(UnixDatagram::unbound().expect("a socket").into()).expect_err("no stream");
        Stream::new(File::open("/dev/null").expect("there").into()).expect_err("no socket");
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        Stream::new(one.into()).expect("connected");
        Listener::new(other.into()).expect_err("it does not listen");
    }
}
