//! What both engines can do, so that everything above them is written once.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::pki::Pki;

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The largest piece that is sent at once: a full channel packet, as our relays read from sockets and pipes.
pub const CHUNK: usize = 32 << 10;

/// The terminal that [`Link::terminal`] asks for.
pub const TERM: &str = "xterm";

/// Whom to connect to and how.
#[derive(Clone)]
pub struct Wish {
    pub server: SocketAddr,
    /// Its name in its certificate.
    pub name: String,
    pub pki: Arc<Pki>,
    /// The one key exchange that is offered.
    pub key_exchange: String,
    /// The one cipher that is offered.
    pub cipher: String,
}

/// An authenticated connection, as its client has it.
pub trait Link: Send + Sync + Sized + 'static {
    type Source: Source;
    type Sink: Sink;

    fn connect(wish: &Wish) -> impl Future<Output = Outcome<Self>> + Send;

    /// Starts a command on a channel of its own.
    fn run(&self, command: &str) -> impl Future<Output = Outcome<(Self::Source, Self::Sink)>> + Send;

    /// The same with a terminal.
    fn terminal(&self, command: &str) -> impl Future<Output = Outcome<(Self::Source, Self::Sink)>> + Send;

    /// Says farewell and waits until the server has closed.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What arrives on a channel.
pub trait Source: Send + 'static {
    /// The next plain data; nothing after its end.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// What is sent on a channel.
pub trait Sink: Send + Sync + 'static {
    /// Waits while the other side grants no window.
    fn send(&self, data: Bytes) -> impl Future<Output = Outcome<()>> + Send;

    /// No more data follows.
    fn end(&self) -> impl Future<Output = ()> + Send;

    /// Sends zeros, which cost nothing to make.
    fn send_zeros(&self, mut bytes: u64) -> impl Future<Output = Outcome<()>> + Send {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        async move {
            while bytes > 0 {
                let piece = usize::try_from(bytes).unwrap_or(CHUNK).min(CHUNK);
                self.send(Bytes::from_static(&ZEROS[..piece])).await?;
                bytes -= piece as u64;
            }
            Ok(())
        }
    }
}
