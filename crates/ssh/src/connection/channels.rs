//! What both sides do with channels (RFC 4254, section 5).

use super::channel::{Channel, ChannelEvent, ChannelId, MAX_DATA, Stage};
use super::inbox::Inbound;
use super::open::Purpose;
use super::replies::Token;
use super::request::{self, ExitSignal, Read, Request};
use super::{Connection, Event};
use crate::error::{Violation, plain};
use crate::message::{
    CHANNEL_CLOSE, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_EXTENDED_DATA, CHANNEL_FAILURE, CHANNEL_OPEN,
    CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_WINDOW_ADJUST,
    OpenFailure,
};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

/// Which of a channel's streams data belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The plain one.
    Data,
    /// Standard error (RFC 4254, section 5.2).
    Stderr,
}

/// The channel, or what is wanted of it, is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is closed")]
pub struct Closed;

impl Connection {
    /// Asks the peer for a channel; nothing when there are too many. [`ChannelEvent::Opened`] or
    /// [`ChannelEvent::Failed`] follows.
    pub fn open(&mut self, purpose: &Purpose) -> Option<ChannelId> {
        let window = self.limits.window;
        let id = self.channels.insert(Channel::new(Stage::Asked, window), self.limits.channels)?;
        self.transport.send(|message| {
            message.put_u8(CHANNEL_OPEN);
            message.put_string(purpose.name().as_bytes());
            message.put_u32(id.0);
            message.put_u32(window);
            message.put_u32(MAX_DATA);
            purpose.put(message);
        });
        Some(id)
    }

    /// Opens a channel that the peer offered.
    pub fn accept(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.find(id) else { return };
        if channel.stage != Stage::Offered {
            return;
        }
        channel.stage = Stage::Open;
        let (remote, window) = (channel.remote, self.limits.window);
        self.transport.send(|message| {
            message.put_u8(CHANNEL_OPEN_CONFIRMATION);
            message.put_u32(remote);
            message.put_u32(id.0);
            message.put_u32(window);
            message.put_u32(MAX_DATA);
        });
    }

    /// Does not open a channel that the peer offered, which sees `text`.
    pub fn reject(&mut self, id: ChannelId, failure: OpenFailure, text: &str) {
        if self.channels.find(id).is_some_and(|channel| channel.stage == Stage::Offered)
            && let Some(channel) = self.channels.remove(id)
        {
            self.send_failure(channel.remote, failure, text);
        }
    }

    fn send_failure(&mut self, remote: u32, failure: OpenFailure, text: &str) {
        self.transport.send(|message| {
            message.put_u8(CHANNEL_OPEN_FAILURE);
            message.put_u32(remote);
            message.put_u32(failure as u32);
            message.put_string(text.as_bytes());
            message.put_string(b"");
        });
    }

    /// Takes what came first of what waits on a channel. After nothing, [`ChannelEvent::Readable`] tells of more.
    pub fn read(&mut self, id: ChannelId) -> Option<Inbound> {
        let channel = self.channels.find(id)?;
        let inbound = channel.inbox.take(&mut self.spares);
        if inbound.is_none() {
            channel.told_readable = false;
        }
        if let Some(Inbound::Data(data) | Inbound::Extended { data, .. }) = &inbound {
            self.unread -= data.len();
            self.credit(id);
        }
        inbound
    }

    /// Whether something waits on a channel.
    #[must_use]
    pub fn is_readable(&mut self, id: ChannelId) -> bool {
        self.channels.find(id).is_some_and(|channel| !channel.inbox.is_empty())
    }

    /// Drops what waits on a channel and what still comes.
    pub fn ignore(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.find(id) {
            self.unread -= channel.inbox.len();
            channel.inbox.ignore();
            self.credit(id);
        }
    }

    /// Fills the window of a channel up again, when that is worth a message.
    pub(super) fn credit(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.find(id) else { return };
        if !channel.sends() {
            return;
        }
        let Some(room) = channel.inbox.credit() else { return };
        let remote = channel.remote;
        self.transport.send(|message| {
            message.put_u8(CHANNEL_WINDOW_ADJUST);
            message.put_u32(remote);
            message.put_u32(room);
        });
        self.probe(id, room);
    }

    /// Sends as much of `data` as there is room for and says how much that was. When it was not all,
    /// [`ChannelEvent::Writable`] tells when to go on.
    pub fn write(&mut self, id: ChannelId, stream: Stream, data: &[u8]) -> Result<usize, Closed> {
        let has_room = self.has_room();
        let channel = self.channels.find(id).ok_or(Closed)?;
        if !channel.sends() || channel.eof_sent {
            return Err(Closed);
        }
        let mut written = 0;
        while written < data.len() && channel.window > 0 && has_room {
            if self.transport.output() >= self.limits.output {
                break;
            }
            let length = (data.len() - written).min(channel.window as usize).min(channel.max_packet as usize);
            let piece = &data[written..written + length];
            let remote = channel.remote;
            self.transport.send(|message| {
                message.put_u8(if stream == Stream::Data { CHANNEL_DATA } else { CHANNEL_EXTENDED_DATA });
                message.put_u32(remote);
                if stream == Stream::Stderr {
                    message.put_u32(1);
                }
                message.put_string(piece);
            });
            channel.window -= u32::try_from(length).unwrap_or(channel.window);
            written += length;
        }
        if written < data.len() && !channel.wants_room {
            channel.wants_room = true;
            self.blocked.push_back(id);
        }
        Ok(written)
    }

    /// Says that no more data follows.
    pub fn eof(&mut self, id: ChannelId) -> Result<(), Closed> {
        let channel = self.channels.find(id).filter(|channel| channel.sends()).ok_or(Closed)?;
        if !std::mem::replace(&mut channel.eof_sent, true) {
            let remote = channel.remote;
            self.send_about(CHANNEL_EOF, remote);
        }
        Ok(())
    }

    /// Closes a channel in both directions. What arrived before can still be taken.
    pub fn close(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.find(id) else { return };
        if channel.stage != Stage::Open || std::mem::replace(&mut channel.close_sent, true) {
            return;
        }
        let remote = channel.remote;
        self.send_about(CHANNEL_CLOSE, remote);
        self.remove_if_done(id);
    }

    /// Nobody here has a use for the channel any more: it is closed, and its number is free once the peer agrees.
    pub fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.find(id) else { return };
        channel.released = true;
        self.unread -= channel.inbox.len();
        channel.inbox.ignore();
        match channel.stage {
            Stage::Offered => self.reject(id, OpenFailure::Prohibited, "nobody takes it"),
            Stage::Asked => {}
            Stage::Open => {
                self.close(id);
                self.remove_if_done(id);
            }
        }
    }

    fn remove_if_done(&mut self, id: ChannelId) {
        if self.channels.find(id).is_some_and(|channel| channel.is_done())
            && let Some(channel) = self.channels.remove(id)
        {
            self.grown -= (channel.inbox.target() - self.limits.window) as usize;
            self.spares.clear();
            self.blocked.retain(|blocked| *blocked != id);
        }
    }

    fn send_about(&mut self, number: u8, remote: u32) {
        self.transport.send(|message| {
            message.put_u8(number);
            message.put_u32(remote);
        });
    }

    /// Asks for something on a session channel of ours. Where an answer is wanted, [`ChannelEvent::Answered`] follows;
    /// answers come in the order of the requests.
    pub fn request(&mut self, id: ChannelId, request: &Request, wants_answer: bool) -> Result<(), Closed> {
        let channel = self.channels.find(id).filter(|channel| channel.sends()).ok_or(Closed)?;
        channel.awaited += u32::from(wants_answer);
        let remote = channel.remote;
        self.send_request(remote, request.name(), wants_answer, |message| request.put(message));
        Ok(())
    }

    /// Says how the command ended.
    pub fn exit_status(&mut self, id: ChannelId, status: u32) -> Result<(), Closed> {
        let channel = self.channels.find(id).filter(|channel| channel.sends()).ok_or(Closed)?;
        let remote = channel.remote;
        self.send_request(remote, "exit-status", false, |message| message.put_u32(status));
        Ok(())
    }

    /// Says which signal ended the command.
    pub fn exit_signal(&mut self, id: ChannelId, signal: &ExitSignal) -> Result<(), Closed> {
        let channel = self.channels.find(id).filter(|channel| channel.sends()).ok_or(Closed)?;
        let remote = channel.remote;
        self.send_request(remote, "exit-signal", false, |message| signal.put(message));
        Ok(())
    }

    fn send_request(
        &mut self,
        remote: u32,
        name: &str,
        wants_answer: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.transport.send(|message| {
            message.put_u8(CHANNEL_REQUEST);
            message.put_u32(remote);
            message.put_string(name.as_bytes());
            message.put_boolean(wants_answer);
            write(message);
        });
    }

    /// The answer to [`Event::Request`].
    pub fn answer(&mut self, id: ChannelId, token: Token, yes: bool) {
        if let Some(channel) = self.channels.find(id) {
            channel.replies.answer(token, yes);
            self.send_answers(id);
        }
    }

    fn send_answers(&mut self, id: ChannelId) {
        while let Some(channel) = self.channels.find(id)
            && let Some(yes) = channel.replies.next()
        {
            let (remote, sends) = (channel.remote, channel.sends());
            if sends {
                self.send_about(if yes { CHANNEL_SUCCESS } else { CHANNEL_FAILURE }, remote);
            }
        }
    }

    fn tell_readable(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.find(id)
            && !channel.inbox.is_empty()
            && !std::mem::replace(&mut channel.told_readable, true)
        {
            self.tell(id, ChannelEvent::Readable);
        }
    }

    pub(super) fn open_received(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let name = reader.string()?;
        let (remote, window, max_packet) = (reader.uint32()?, reader.uint32()?, reader.uint32()?);
        let Some(purpose) = Purpose::read(self.transport.role(), name, reader)? else {
            self.send_failure(remote, OpenFailure::UnknownType, "there are no channels of this type here");
            return Ok(());
        };
        if purpose == Purpose::Session && self.globals.no_more_sessions {
            self.send_failure(remote, OpenFailure::Prohibited, "no more sessions, as was asked for");
            return Ok(());
        }
        let mut channel = Channel::new(Stage::Offered, self.limits.window);
        channel.set_peer(remote, window, max_packet)?;
        match self.channels.insert(channel, self.limits.channels) {
            Some(id) => self.tell(id, ChannelEvent::Offered(purpose)),
            None => self.send_failure(remote, OpenFailure::ResourceShortage, "too many channels"),
        }
        Ok(())
    }

    pub(super) fn confirmed(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let id = ChannelId(reader.uint32()?);
        let (remote, window, max_packet) = (reader.uint32()?, reader.uint32()?, reader.uint32()?);
        let channel = self.asked(id)?;
        channel.set_peer(remote, window, max_packet)?;
        channel.stage = Stage::Open;
        if channel.released {
            self.close(id);
        } else {
            self.tell(id, ChannelEvent::Opened);
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let id = ChannelId(reader.uint32()?);
        let (code, text) = (reader.uint32()?, plain(reader.string()?));
        let released = self.asked(id)?.released;
        self.channels.remove(id);
        if !released {
            self.tell(id, ChannelEvent::Failed { code, text });
        }
        Ok(())
    }

    fn asked(&mut self, id: ChannelId) -> Result<&mut Channel, Violation> {
        let channel = self.channels.find(id).filter(|channel| channel.stage == Stage::Asked);
        channel.ok_or_else(|| Violation::new("an answer about a channel that was not asked for"))
    }

    pub(super) fn data(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let number = reader.uint32()?;
        let data = reader.string()?;
        reader.end()?;
        self.take_in(number, None, data)
    }

    pub(super) fn extended_data(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let (number, code) = (reader.uint32()?, reader.uint32()?);
        let data = reader.string()?;
        reader.end()?;
        self.take_in(number, Some(code), data)
    }

    fn take_in(&mut self, number: u32, code: Option<u32>, data: &[u8]) -> Result<(), Violation> {
        let (id, channel) = self.channels.of_message(number)?;
        if data.len() > MAX_DATA as usize {
            return Err(Violation::new("a packet of data is larger than was agreed on"));
        }
        let before = channel.inbox.len();
        channel.inbox.data(code, data, &mut self.spares)?;
        self.unread += channel.inbox.len() - before;
        if channel.close_sent {
            return Ok(());
        }
        self.count_for_probe(id, data.len());
        self.tell_readable(id);
        // Only where nobody takes anything is there something to credit already.
        self.credit(id);
        Ok(())
    }

    pub(super) fn window_adjust(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let (number, more) = (reader.uint32()?, reader.uint32()?);
        reader.end()?;
        let Some((_, channel)) = self.channels.of_late_message(number)? else { return Ok(()) };
        let window = channel.window.checked_add(more);
        channel.window = window.ok_or_else(|| Violation::new("a window is larger than a window can be"))?;
        self.tell_writers();
        Ok(())
    }

    pub(super) fn eof_received(&mut self, message: &[u8]) -> Result<(), Violation> {
        let (id, channel) = self.channels.of_message(only_number(message)?)?;
        channel.inbox.eof();
        self.tell_readable(id);
        Ok(())
    }

    pub(super) fn close_received(&mut self, message: &[u8]) -> Result<(), Violation> {
        let (id, channel) = self.channels.of_message(only_number(message)?)?;
        channel.close_received = true;
        let (remote, answer) = (channel.remote, !std::mem::replace(&mut channel.close_sent, true));
        if answer {
            self.send_about(CHANNEL_CLOSE, remote);
        }
        if self.channels.find(id).is_some_and(|channel| !channel.released) {
            self.tell(id, ChannelEvent::Closed);
        }
        self.remove_if_done(id);
        Ok(())
    }

    pub(super) fn request_received(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let number = reader.uint32()?;
        let name = reader.string()?;
        let wants_answer = reader.boolean()?;
        let role = self.transport.role();
        let (id, channel) = self.channels.of_message(number)?;
        let read = request::read(role, name, reader)?;
        if channel.close_sent {
            return Ok(());
        }
        match read {
            Read::ExitStatus(status) => channel.inbox.exit_status(status),
            Read::ExitSignal(signal) => channel.inbox.exit_signal(signal),
            Read::Unknown if wants_answer => channel.replies.answered(false)?,
            Read::Unknown => {}
            Read::Session(request) => {
                let token = if wants_answer { channel.replies.ask(false)? } else { None };
                if token.is_some() || !wants_answer {
                    self.events.push_back(Event::Request(id, request, token));
                }
            }
        }
        self.send_answers(id);
        self.tell_readable(id);
        Ok(())
    }

    pub(super) fn answered(&mut self, message: &[u8], yes: bool) -> Result<(), Violation> {
        let Some((id, channel)) = self.channels.of_late_message(only_number(message)?)? else {
            return Ok(());
        };
        let left = channel.awaited.checked_sub(1);
        channel.awaited = left.ok_or_else(|| Violation::new("an answer to a request that was not made"))?;
        if !channel.released {
            self.tell(id, ChannelEvent::Answered(yes));
        }
        Ok(())
    }
}

/// Of a message that says nothing but a channel.
fn only_number(message: &[u8]) -> Result<u32, Violation> {
    let mut reader = Reader::new(&message[1..]);
    let number = reader.uint32()?;
    reader.end()?;
    Ok(number)
}
