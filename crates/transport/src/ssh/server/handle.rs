//! Acting on a live connection.

use std::sync::Arc;
use std::time::Duration;

use russh::{Disconnect, server};

use super::super::channel::{ChannelClosed, Half, Reader, Writer};
use super::super::flow::{Ended, Flow, Traffic};
use super::super::ports::{Ports, Release};
use super::event::Origin;
use super::request::Request;

/// How long a disconnect may wait for the engine to take it; a peer that does not read is cut then.
const PATIENCE: Duration = Duration::from_millis(300);

/// Acts on one connection; clones act on the same.
#[derive(Debug, Clone)]
pub struct Handle {
    engine: server::Handle,
    flow: Arc<Flow>,
    ports: Arc<Ports<Request>>,
}

impl Handle {
    pub(super) fn new(engine: server::Handle, flow: Arc<Flow>, ports: Arc<Ports<Request>>) -> Self {
        Self { engine, flow, ports }
    }

    /// Tells the client why and ends the connection. Returns at once or nearly; [`Self::ended`] waits for the end.
    pub async fn disconnect(&self, reason: &str) {
        self.flow.announce(Ended::Local(reason.to_owned()));
        let said = self.engine.disconnect(Disconnect::ByApplication, reason.to_owned(), String::new());
        if !matches!(tokio::time::timeout(PATIENCE, said).await, Ok(Ok(()))) {
            self.flow.cut(Ended::Local(reason.to_owned()));
        }
    }

    /// Nobody takes events any more.
    pub(super) fn abandon(&self) {
        if self.flow.ended.is_cancelled() {
            return;
        }
        let handle = self.clone();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                drop(runtime.spawn(async move { handle.disconnect("the connection is over").await }))
            }
            Err(_) => self.flow.cut(Ended::Local("the connection is over".to_owned())),
        }
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
        let entry = self.ports.opening();
        let opening =
            self.engine.channel_open_forwarded_tcpip(address, u32::from(port), origin.address, origin.port);
        let channel = tokio::select! {
            () = self.flow.ended.cancelled() => return Err(ChannelClosed),
            opened = opening => opened.map_err(|_| ChannelClosed)?,
        };
        let (_, half) = channel.split();
        let id = half.id().number();
        let ends = entry.take(id);
        let half = Half::Server(half, self.engine.clone());
        let release = Release::new(&self.ports, id);
        let writer = Writer::new(half, Arc::clone(&self.flow), ends.closed, release);
        writer.opened();
        Ok((ends.reader, writer))
    }

    /// How long ago the client last sent or got anything but keep-alives.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.flow.idle()
    }

    /// What went over the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.flow.traffic()
    }

    /// Returns when nothing is left of the connection, with the reason.
    pub async fn ended(&self) -> Ended {
        self.flow.ended.cancelled().await;
        self.flow.reason().unwrap_or(Ended::Peer(String::new()))
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.flow.ended.is_cancelled()
    }
}
