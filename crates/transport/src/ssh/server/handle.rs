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
        let purpose = Purpose::ForwardedTcpip { address: address.to_owned(), port: port.into(), origin };
        let opened = self.0.open(&purpose, ANSWER).await;
        opened.map(|(reader, writer, _)| (reader, writer)).map_err(|_| ChannelClosed)
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
