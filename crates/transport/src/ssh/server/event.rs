//! What a client asks for on a connection as a whole.

use std::sync::Arc;

use ::ssh::OpenFailure;
use ::ssh::connection::{ChannelId, GlobalAnswer, Purpose};
use tokio::sync::mpsc;

use super::super::channel::{Reader, Writer, halves};
use super::super::link::{Link, Port};
use super::handle::Handle;
use super::request::{Reply, Requests};

pub use ::ssh::connection::Origin;

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
    /// A connection from here to a Unix socket (`ssh -L` with a path).
    DirectStreamlocal {
        /// The socket, as the client wrote it.
        path: Vec<u8>,
        /// Accepts or rejects.
        open: OpenRequest,
    },
    /// Listening here at a Unix socket on the client's behalf (`ssh -R` with a path).
    StreamlocalForward {
        /// The socket, as the client wrote it.
        path: Vec<u8>,
        /// Accepts or refuses.
        reply: Reply,
    },
    /// No longer listening there.
    CancelStreamlocalForward {
        /// As it was asked for.
        path: Vec<u8>,
        /// Accepts or refuses.
        reply: Reply,
    },
}

/// A channel that the client wants open. Dropped, it is rejected.
#[derive(Debug)]
pub struct OpenRequest {
    /// Until it is answered.
    channel: Option<(Arc<Link>, ChannelId)>,
    /// Only sessions take requests (RFC 4254, section 6).
    is_session: bool,
}

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    /// What the client asks for on it; nothing ever, unless it is a session.
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
    pub(super) fn new(link: &Arc<Link>, id: ChannelId, purpose: &Purpose) -> Self {
        Self { channel: Some((Arc::clone(link), id)), is_session: *purpose == Purpose::Session }
    }

    /// Opens the channel.
    pub async fn accept(mut self) -> Channel {
        let (link, id) = self.channel.take().expect("it is answered once, here");
        let (port, mut requests) = Port::for_requests();
        if !self.is_session {
            // Who relays a connection does not look here, and a client could fill the queue.
            requests.close();
        }
        link.act(|state| {
            state.connection.accept(id);
            state.plug(id, &port);
        });
        let (reader, writer) = halves(&link, port, id, None);
        Channel { requests: Requests(requests), reader, writer }
    }

    /// Does not; the client sees `text`.
    pub async fn reject(mut self, refusal: OpenRefusal, text: &str) {
        self.answer(refusal, text);
    }

    pub(super) fn answer(&mut self, refusal: OpenRefusal, text: &str) {
        let Some((link, id)) = self.channel.take() else { return };
        let failure = match refusal {
            OpenRefusal::Prohibited => OpenFailure::Prohibited,
            OpenRefusal::ConnectFailed => OpenFailure::ConnectFailed,
            OpenRefusal::ResourceShortage => OpenFailure::ResourceShortage,
        };
        link.act(|state| state.connection.reject(id, failure, text));
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.answer(OpenRefusal::Prohibited, "not allowed");
    }
}

/// The answer to a wish for a listener.
#[derive(Debug)]
pub struct ForwardReply {
    reply: Reply,
    /// The client left the choice to us and wants to know it.
    wants_port: bool,
}

impl ForwardReply {
    pub(super) fn new(reply: Reply, wants_port: bool) -> Self {
        Self { reply, wants_port }
    }

    /// Yes, on this port.
    pub fn accept(self, port: u16) {
        self.reply.answer(if self.wants_port { GlobalAnswer::Port(port.into()) } else { GlobalAnswer::Done });
    }

    /// No.
    pub fn refuse(self) {
        self.reply.refuse();
    }
}
