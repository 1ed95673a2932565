//! How much is on its way at once, and so how large a window has to be.
//!
//! When a window is filled up again, the peer is asked for a sign of life. Its answer comes once it has seen the new window. If
//! by then all has arrived that it could send without, the window is what holds the peer back, and it is doubled. Where
//! the reader is behind, it is the reader who holds it back, and nothing is measured.

use super::{ChannelId, Connection};
use crate::error::Violation;
use crate::message::PING;
use crate::wire::Writer as _;
use bytes::BufMut as _;

#[derive(Debug, Default)]
pub(super) struct Probe {
    under_way: Option<Measured>,
    /// Answers to pings that are still to come.
    pings: u32,
}

/// The channel that is measured.
#[derive(Debug)]
struct Measured {
    id: ChannelId,
    /// What the peer could still send before its window was filled up again.
    left: u64,
    /// What has arrived since.
    got: u64,
}

impl Connection {
    /// The channel got so many bytes.
    pub(super) fn count_for_probe(&mut self, id: ChannelId, bytes: usize) {
        if let Some(measured) = &mut self.probe.under_way
            && measured.id == id
        {
            measured.got += bytes as u64;
        }
    }

    /// The window of a channel was filled up by so much; worth a look at whether it is large enough.
    pub(super) fn probe(&mut self, id: ChannelId, room: u32) {
        let Some(channel) = self.channels.find(id) else { return };
        let inbox = &channel.inbox;
        let is_behind = !inbox.is_empty();
        if self.probe.under_way.is_some() || is_behind || inbox.target() >= self.limits.max_window {
            return;
        }
        let left = u64::from(inbox.window().saturating_sub(room));
        self.probe.under_way = Some(Measured { id, left, got: 0 });
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
        let Some(Measured { id, left, got }) = self.probe.under_way.take() else { return };
        let Some(channel) = self.channels.find(id) else { return };
        let target = channel.inbox.target();
        if got < left {
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
