//! One channel of a connection, in halves that can be used by different tasks.
//!
//! Requests are apart from data on purpose: a program that does not read its input must not keep a signal or a change
//! of the window size from being seen.

use std::sync::Arc;

use ::ssh::connection::{ChannelId, Closed, Stream};
use bytes::Bytes;

use super::link::{Link, Port};
use super::{ExitSignal, Inbound};

/// The channel or its whole connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is closed")]
pub struct ChannelClosed;

impl From<Closed> for ChannelClosed {
    fn from(Closed: Closed) -> Self {
        Self
    }
}

/// One channel; gone when both of its halves are.
#[derive(Debug)]
struct End {
    link: Arc<Link>,
    port: Arc<Port>,
    id: ChannelId,
    /// Keeps the connection of a client for as long as a channel is used.
    _anchor: Option<Arc<Anchor>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.link.act(|state| state.release(self.id));
    }
}

/// Ends a connection when nobody has a use for it any more.
#[derive(Debug)]
pub(super) struct Anchor(pub(super) Arc<Link>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.disconnect("the connection is over");
    }
}

/// The halves of a channel.
pub(super) fn halves(
    link: &Arc<Link>,
    port: Arc<Port>,
    id: ChannelId,
    anchor: Option<Arc<Anchor>>,
) -> (Reader, Writer) {
    let end = Arc::new(End { link: Arc::clone(link), port, id, _anchor: anchor });
    (Reader(Arc::clone(&end)), Writer(Arc::new(Outlet(end))))
}

/// The receiving half of a channel. Dropping it discards what the other side sends.
#[derive(Debug)]
pub struct Reader(Arc<End>);

impl Reader {
    /// What arrives next; nothing once the channel is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Inbound> {
        loop {
            // Looked at before the engine is: what arrives before the close is taken before the end is seen.
            let closed = self.0.port.closed.is_cancelled();
            let inbound = self.take();
            if inbound.is_some() || closed {
                return inbound;
            }
            self.0.port.readable.notified().await;
        }
    }

    /// What waits, if anything does.
    fn take(&self) -> Option<Inbound> {
        let End { link, id, .. } = &*self.0;
        let mut state = link.lock();
        let inbound = state.connection.read(*id)?;
        let unread = state.connection.unread();
        state.share.set(unread);
        let wake = state.is_holding || state.connection.has_output();
        drop(state);
        link.meter.touch();
        if wake {
            link.io.wake();
        }
        Some(inbound)
    }

    /// The next plain data; nothing after end of file or when the channel is closed. Cancel-safe.
    pub async fn data(&mut self) -> Option<Bytes> {
        loop {
            match self.next().await? {
                Inbound::Data(data) => return Some(data),
                Inbound::Eof => return None,
                Inbound::Extended { .. } | Inbound::ExitStatus(_) | Inbound::ExitSignal(_) => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.link.act(|state| {
            state.connection.ignore(self.0.id);
            state.share.set(state.connection.unread());
        });
    }
}

/// The sending half of a channel; clones speak for the same channel. Every method waits while the other side grants no
/// window, and no longer than the channel is open. When the last clone is dropped the channel is closed.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Outlet>);

#[derive(Debug)]
struct Outlet(Arc<End>);

impl Writer {
    /// Sends data.
    pub async fn data(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.write(Stream::Data, &data).await
    }

    /// Sends to standard error.
    pub async fn stderr(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.write(Stream::Stderr, &data).await
    }

    async fn write(&self, stream: Stream, mut data: &[u8]) -> Result<(), ChannelClosed> {
        let End { link, port, id, .. } = &*self.0.0;
        link.meter.touch();
        loop {
            let mut room = std::pin::pin!(port.writable.notified());
            // Registered before the engine says that there is no room, so that no word of new room is missed.
            room.as_mut().enable();
            if port.closed.is_cancelled() {
                return Err(ChannelClosed);
            }
            let written = link.act(|state| state.connection.write(*id, stream, data))?;
            data = &data[written..];
            if data.is_empty() {
                return Ok(());
            }
            room.await;
        }
    }

    /// Says that no more data follows.
    pub async fn eof(&self) -> Result<(), ChannelClosed> {
        self.act(|connection, id| connection.eof(id))
    }

    /// Says how the command ended.
    pub async fn exit_status(&self, status: u32) -> Result<(), ChannelClosed> {
        self.act(|connection, id| connection.exit_status(id, status))
    }

    /// Says which signal ended the command.
    pub async fn exit_signal(&self, signal: ExitSignal) -> Result<(), ChannelClosed> {
        self.act(|connection, id| connection.exit_signal(id, &signal))
    }

    /// Closes the channel in both directions.
    pub async fn close(&self) {
        self.0.close();
    }

    /// Returns once the channel is closed, by either side.
    pub async fn closed(&self) {
        self.0.0.port.closed.cancelled().await;
    }

    /// Whether the channel is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.0.port.closed.is_cancelled()
    }

    pub(super) fn act(
        &self,
        action: impl FnOnce(&mut ::ssh::connection::Connection, ChannelId) -> Result<(), Closed>,
    ) -> Result<(), ChannelClosed> {
        let End { link, port, id, .. } = &*self.0.0;
        if port.closed.is_cancelled() {
            return Err(ChannelClosed);
        }
        Ok(link.act(|state| action(&mut state.connection, *id))?)
    }
}

impl Outlet {
    fn close(&self) {
        let End { link, port, id, .. } = &*self.0;
        link.act(|state| state.connection.close(*id));
        port.close();
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close();
    }
}
