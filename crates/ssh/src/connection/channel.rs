//! One channel (RFC 4254, section 5): numbers, windows, and who has ended what.

use super::inbox::Inbox;
use super::open::Purpose;
use super::replies::Replies;
use crate::error::Violation;

/// A channel of one connection, by our number. Whoever holds one says so when it is done ([`super::Connection::release`]);
/// the number means nothing after that, not until a million other channels have come and gone.
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

/// The channels of a connection, by number. A number has the place of the channel in its lower bits and how many there
/// were before it in the upper ones, so that what is still said of a channel that is gone does not meet the next one.
#[derive(Debug, Default)]
pub(super) struct Channels {
    places: Vec<Option<(ChannelId, Channel)>>,
    opened: u32,
}

/// Bits of a number that say the place.
const PLACE: u32 = 12;

impl ChannelId {
    fn place(self) -> usize {
        (self.0 & ((1 << PLACE) - 1)) as usize
    }
}

impl Channels {
    /// A new one; nothing when there are `limit` already.
    pub(super) fn insert(&mut self, channel: Channel, limit: usize) -> Option<ChannelId> {
        let place = match self.places.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.places.len() < limit.min(1 << PLACE) => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        let id = ChannelId(self.opened << PLACE | u32::try_from(place).ok()?);
        self.opened = self.opened.wrapping_add(1);
        self.places[place] = Some((id, channel));
        Some(id)
    }

    pub(super) fn find(&mut self, id: ChannelId) -> Option<&mut Channel> {
        let (found, channel) = self.places.get_mut(id.place())?.as_mut()?;
        (*found == id).then_some(channel)
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        self.find(id)?;
        let removed = self.places.get_mut(id.place())?.take();
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
        removed.map(|(_, channel)| channel)
    }

    /// All that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.places.iter().flatten().map(|(_, channel)| channel)
    }

    /// The channel that a message of the peer is about.
    pub(super) fn of_message(&mut self, number: u32) -> Result<(ChannelId, &mut Channel), Violation> {
        let id = ChannelId(number);
        match self.find(id) {
            Some(channel) if channel.stage == Stage::Open && !channel.close_received => Ok((id, channel)),
            _ => Err(Violation::new("a message is about a channel that is not open")),
        }
    }

    /// The same for what means nothing once a channel is over; of such a channel, nothing.
    ///
    /// Clients with threads (paramiko) may be about to say such things while they answer a close. OpenSSH lets the same messages
    /// pass (`channels.c`, `channel_input_window_adjust` and `channel_input_status_confirm`).
    pub(super) fn of_late_message(
        &mut self,
        number: u32,
    ) -> Result<Option<(ChannelId, &mut Channel)>, Violation> {
        let over = match self.find(ChannelId(number)) {
            Some(channel) => channel.close_received,
            None => number >> PLACE < self.opened,
        };
        if over { Ok(None) } else { self.of_message(number).map(Some) }
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
