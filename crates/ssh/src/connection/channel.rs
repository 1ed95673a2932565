//! One channel (RFC 4254, section 5): numbers, windows, and who has ended what.

use super::inbox::Inbox;
use super::open::Purpose;
use super::replies::Replies;
use crate::error::Violation;

/// A channel of one connection, by our number. Whoever holds one says so when it is done ([`super::Connection::release`]);
/// the number means another channel after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(super) u32);

/// How far a channel is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// We asked the peer.
    Asked,
    /// The peer asks us.
    Offered,
    /// Both know it.
    Open,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) stage: Stage,
    /// The peer's number.
    pub(super) remote: u32,
    /// What we may still send.
    pub(super) window: u32,
    /// In packets of this size at most.
    pub(super) max_packet: u32,
    pub(super) inbox: Inbox,
    /// Answers that we owe.
    pub(super) replies: Replies<bool>,
    /// Answers that the peer owes, to requests of ours.
    pub(super) awaited: u32,
    pub(super) eof_sent: bool,
    pub(super) close_sent: bool,
    pub(super) close_received: bool,
    /// Nobody on our side has a use for it any more.
    pub(super) released: bool,
    /// Somebody was told that there is something to take, and has not seen the end of it.
    pub(super) told_readable: bool,
    /// Somebody waits for room to write.
    pub(super) wants_room: bool,
}

/// The largest packets of data that we send and take.
pub(super) const MAX_DATA: u32 = 32 << 10;
/// A peer that takes smaller ones than this is not served: it would cost a packet for every few bytes.
const MIN_DATA: u32 = 64;

impl Channel {
    pub(super) fn new(stage: Stage, window: u32) -> Self {
        Self {
            stage,
            remote: 0,
            window: 0,
            max_packet: 0,
            inbox: Inbox::new(window),
            replies: Replies::default(),
            awaited: 0,
            eof_sent: false,
            close_sent: false,
            close_received: false,
            released: false,
            told_readable: false,
            wants_room: false,
        }
    }

    /// What the peer says of its side.
    pub(super) fn set_peer(&mut self, remote: u32, window: u32, max_packet: u32) -> Result<(), Violation> {
        if max_packet < MIN_DATA {
            return Err(Violation::new("a channel takes packets of hardly any size"));
        }
        (self.remote, self.window, self.max_packet) = (remote, window, max_packet.min(MAX_DATA));
        Ok(())
    }

    /// Whether we may still send on it.
    pub(super) fn sends(&self) -> bool {
        self.stage == Stage::Open && !self.close_sent && !self.close_received
    }

    /// Whether its number can be given to another.
    pub(super) fn is_done(&self) -> bool {
        self.released && self.close_sent && self.close_received
    }
}

/// The channels of a connection, by number.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Option<Channel>>);

impl Channels {
    /// A new one; nothing when there are `limit` already.
    pub(super) fn insert(&mut self, channel: Channel, limit: usize) -> Option<ChannelId> {
        let index = match self.0.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.0.len() < limit => {
                self.0.push(None);
                self.0.len() - 1
            }
            None => return None,
        };
        self.0[index] = Some(channel);
        u32::try_from(index).ok().map(ChannelId)
    }

    pub(super) fn find(&mut self, ChannelId(number): ChannelId) -> Option<&mut Channel> {
        self.0.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, ChannelId(number): ChannelId) -> Option<Channel> {
        let removed = self.0.get_mut(number as usize)?.take();
        while let Some(None) = self.0.last() {
            self.0.pop();
        }
        removed
    }

    /// All that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter().flatten()
    }

    /// The channel that a message of the peer is about.
    pub(super) fn of_message(&mut self, number: u32) -> Result<(ChannelId, &mut Channel), Violation> {
        let id = ChannelId(number);
        match self.find(id) {
            Some(channel) if channel.stage == Stage::Open && !channel.close_received => Ok((id, channel)),
            _ => Err(Violation::new("a message is about a channel that is not open")),
        }
    }
}

/// What somebody on our side is told about channels.
#[derive(Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The peer wants to open it; see [`super::Connection::accept`] and [`super::Connection::reject`].
    Offered(Purpose),
    /// The peer opened it as we asked.
    Opened,
    /// The peer did not.
    Failed {
        /// By RFC 4254, section 5.1.
        code: u32,
        /// Its words, made fit for a log.
        text: String,
    },
    /// There is something to take.
    Readable,
    /// There is room to write again.
    Writable,
    /// The peer's answer to the request that waits longest.
    Answered(bool),
    /// The peer closed it; what arrived before is still there.
    Closed,
}
