//! Acting on a live connection.

use std::sync::Arc;
use std::time::Duration;

use ::ssh::connection::Purpose;

use super::super::channel::{ChannelClosed, Reader, Writer};
use super::super::link::Link;
use super::super::meter::{Ended, Traffic};
use super::event::Origin;

/// How long a client may think about a channel.
const ANSWER: Duration = Duration::from_secs(90);

/// Acts on one connection; clones act on the same.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Link>);

impl Handle {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// Tells the client why and ends the connection. Returns at once; [`Self::ended`] waits for the end.
    pub async fn disconnect(&self, reason: &str) {
        self.0.disconnect(reason);
    }

    /// Nobody takes events any more.
    pub(super) fn abandon(&self) {
        self.0.disconnect("the connection is over");
    }

    /// Opens a channel to the client for a connection that arrived on a listener of its (`ssh -R`).
    ///
    /// `listener` must be named as the client asked for it, or it will not know what to do with the channel.
    pub async fn open_forwarded(
        &self,
        listener: (&str, u16),
        origin: Origin,
    ) -> Result<(Reader, Writer), ChannelClosed> {
        let (address, port) = listener;
        self.open(Purpose::ForwardedTcpip { address: address.to_owned(), port: port.into(), origin }).await
    }

    /// Opens a channel to the client for a connection that arrived at a Unix socket of its; `path` is named as the
    /// client asked for it.
    pub async fn open_forwarded_streamlocal(&self, path: &[u8]) -> Result<(Reader, Writer), ChannelClosed> {
        self.open(Purpose::ForwardedStreamlocal { path: path.to_owned() }).await
    }

    /// Opens a channel to the client's agent. Only after the client has asked to serve it.
    pub async fn open_agent(&self) -> Result<(Reader, Writer), ChannelClosed> {
        self.open(Purpose::Agent).await
    }

    /// Opens a channel to the client's display. Only after the client has asked to serve it.
    pub async fn open_x11(&self, origin: Origin) -> Result<(Reader, Writer), ChannelClosed> {
        self.open(Purpose::X11 { origin }).await
    }

    async fn open(&self, purpose: Purpose) -> Result<(Reader, Writer), ChannelClosed> {
        let opened = self.0.open(&purpose, ANSWER).await;
        opened.map(|(reader, writer, _)| (reader, writer)).map_err(|_| ChannelClosed)
    }

    /// Says why something did not work to a user who asks for details: `ssh -v` shows it.
    pub fn remark(&self, text: &str) {
        self.0.act(|state| state.connection.remark(text));
    }

    /// How long ago the client last sent or got anything but keep-alives.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.0.meter.idle()
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.0.meter.traffic()
    }

    /// Returns when nothing is left of the connection, with the reason.
    pub async fn ended(&self) -> Ended {
        self.0.ended().await
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.is_ended()
    }
}
