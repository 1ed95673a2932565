//! How much is on its way at once, and so how large a window has to be.
//!
//! While a peer sends much, it is asked for a sign of life now and then. What arrives on a channel until the answer does
//! is what the path holds; when that comes near the window, the window is what holds the peer back, and it is doubled.

use super::{ChannelId, Connection};
use crate::error::Violation;
use crate::message::PING;
use crate::wire::Writer as _;
use bytes::BufMut as _;

#[derive(Debug, Default)]
pub(super) struct Probe {
    /// The channel that is measured, and what it has got since.
    under_way: Option<(ChannelId, u64)>,
    /// Answers to pings that are still to come.
    pings: u32,
}

impl Connection {
    /// The channel got so many bytes.
    pub(super) fn count_for_probe(&mut self, id: ChannelId, bytes: usize) {
        if let Some((measured, got)) = &mut self.probe.under_way
            && *measured == id
        {
            *got += bytes as u64;
        }
    }

    /// The window of a channel was filled up again; worth a look at whether it is large enough.
    pub(super) fn probe(&mut self, id: ChannelId) {
        let target = self.channels.find(id).map_or(u32::MAX, |channel| channel.inbox.target());
        if self.probe.under_way.is_some() || target >= self.limits.max_window {
            return;
        }
        self.probe.under_way = Some((id, 0));
        if self.transport.extensions().ping {
            self.ping();
        } else {
            self.ask_for_probe();
        }
    }

    fn ping(&mut self) {
        self.probe.pings += 1;
        self.transport.send(|message| {
            message.put_u8(PING);
            message.put_string(b"");
        });
    }

    pub(super) fn pong(&mut self) -> Result<(), Violation> {
        let left = self.probe.pings.checked_sub(1);
        self.probe.pings = left.ok_or_else(|| Violation::new("an answer to a ping that was not sent"))?;
        self.probed();
        Ok(())
    }

    /// The answer is there.
    pub(super) fn probed(&mut self) {
        let Some((id, got)) = self.probe.under_way.take() else { return };
        let Some(channel) = self.channels.find(id) else { return };
        let target = channel.inbox.target();
        if got < u64::from(target / 2) {
            return;
        }
        let grown = target.saturating_mul(2).min(self.limits.max_window);
        let more = (grown - target) as usize;
        if self.grown + more > self.limits.growth {
            return;
        }
        channel.inbox.grow(grown);
        self.grown += more;
        self.credit(id);
    }
}
