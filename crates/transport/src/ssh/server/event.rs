//! What a client asks for on a connection as a whole.

use std::fmt;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use tokio::sync::{mpsc, oneshot};

use super::super::channel::{Reader, Writer};
use super::handle::Handle;
use super::request::{Reply, Requests};

/// The events of one connection, in order. Dropping them disconnects.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    handle: Handle,
}

impl Events {
    pub(super) fn new(queue: mpsc::Receiver<Event>, handle: Handle) -> Self {
        Self { queue, handle }
    }

    /// The next event; nothing once the connection is over ([`Handle::ended`] says why). Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.handle.abandon();
    }
}

/// One wish of the client. What is dropped is refused.
#[derive(Debug)]
pub enum Event {
    /// A session channel.
    Session(OpenRequest),
    /// A connection from here to somewhere (`ssh -L`, `-D`, `-W`, `-J`).
    DirectTcpip {
        /// Where to, as the client wrote it.
        host: String,
        /// Which port; checked to be one.
        port: u16,
        /// Who wants it, by the client's word.
        origin: Origin,
        /// Accepts or rejects.
        open: OpenRequest,
    },
    /// Listening here on the client's behalf (`ssh -R`).
    TcpipForward {
        /// On which address, as the client wrote it; empty for all.
        address: String,
        /// On which port; 0 for any.
        port: u16,
        /// Accepts, with the port, or refuses.
        reply: ForwardReply,
    },
    /// No longer listening here.
    CancelTcpipForward {
        /// As it was asked for.
        address: String,
        /// The port in use.
        port: u16,
        /// Accepts or refuses.
        reply: Reply,
    },
}

/// Where a forwarded connection says that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// An address as text; nobody checked it.
    pub address: String,
    /// Its port.
    pub port: u32,
}

/// A channel that the client wants open.
pub struct OpenRequest {
    pub(super) engine: ChannelOpenHandle,
    pub(super) channel: Channel,
}

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    /// What the client asks for on it.
    pub requests: Requests,
    /// What it sends.
    pub reader: Reader,
    /// What it gets.
    pub writer: Writer,
}

/// Why a channel is not opened (RFC 4254, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenRefusal {
    /// Not allowed.
    Prohibited,
    /// The other end of it cannot be reached.
    ConnectFailed,
    /// Too many.
    ResourceShortage,
}

impl OpenRequest {
    /// Opens the channel.
    pub async fn accept(self) -> Channel {
        // Before the confirmation is out: whatever happens now, there is something to close.
        self.channel.writer.opened();
        self.engine.accept().await;
        self.channel
    }

    /// Does not; the client sees `text`.
    pub async fn reject(self, refusal: OpenRefusal, text: &str) {
        let code = match refusal {
            OpenRefusal::Prohibited => ChannelOpenFailure::AdministrativelyProhibited.code(),
            OpenRefusal::ConnectFailed => ChannelOpenFailure::ConnectFailed.code(),
            OpenRefusal::ResourceShortage => ChannelOpenFailure::ResourceShortage.code(),
        };
        self.engine.reject(ChannelOpenFailure::Other { code, reason: text.to_owned() }).await;
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenRequest")
    }
}

/// The answer to a wish for a listener.
#[derive(Debug)]
pub struct ForwardReply(oneshot::Sender<Option<u16>>);

impl ForwardReply {
    pub(super) fn new() -> (Self, oneshot::Receiver<Option<u16>>) {
        let (sender, answer) = oneshot::channel();
        (Self(sender), answer)
    }

    /// Yes, on this port.
    pub fn accept(self, port: u16) {
        let _ = self.0.send(Some(port));
    }

    /// No.
    pub fn refuse(self) {
        let _ = self.0.send(None);
    }
}
