//! The connection protocol (RFC 4254): channels and global requests, for both roles.
//!
//! There is a [`Connection`] only after authentication. What arrives for a channel waits in the channel until it is
//! taken, what is to be sent goes into one output of bounded size, and nothing here waits for anything: a channel that
//! nobody reads or writes stops no other.

mod channel;
mod channels;
#[cfg(fuzzing)]
mod fuzzing;
mod global;
mod inbox;
mod open;
mod path;
mod replies;
mod request;
mod spares;

use std::collections::VecDeque;
use std::time::Duration;

pub use channel::{ChannelEvent, ChannelId};
pub use channels::{Closed, Stream};
#[cfg(fuzzing)]
pub use fuzzing::Gauge;
pub use global::{GlobalAnswer, GlobalRequest, ListenAt};
pub use inbox::Inbound;
pub use open::{Origin, Purpose};
pub use replies::Token;
pub use request::{ExitSignal, Request, WindowSize};

use crate::error::{Error, Violation};
use crate::message::{
    CHANNEL_CLOSE, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_EXTENDED_DATA, CHANNEL_FAILURE, CHANNEL_OPEN,
    CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_WINDOW_ADJUST,
    DEBUG, Disconnect, GLOBAL_REQUEST, PONG, REQUEST_FAILURE, REQUEST_SUCCESS, USERAUTH_REQUEST,
};
use crate::negotiation::Negotiated;
use crate::role::Role;
use crate::transport::{Layer, MAX_ANSWERS, ToSign, Transport, Wish, receive};
use crate::wire::Writer as _;
use bytes::BufMut as _;
use channel::Channels;
use global::Globals;
use path::Probe;
use spares::Spares;

/// What one connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Channels open at once.
    pub channels: usize,
    /// The window of a new channel, in bytes.
    pub window: u32,
    /// What a window may grow to where the path needs it.
    pub max_window: u32,
    /// What all windows may grow by together.
    pub growth: usize,
    /// What may wait to be sent before writers have to wait.
    pub output: usize,
}

impl Default for Limits {
    /// 128 channels of 256 KiB, which may grow to 16 MiB each and by 32 MiB in all; 128 KiB to be sent.
    fn default() -> Self {
        Self { channels: 128, window: 256 << 10, max_window: 16 << 20, growth: 32 << 20, output: 128 << 10 }
    }
}

impl Limits {
    /// The most that can wait to be taken on one connection, in bytes.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.channels * self.window as usize + self.growth
    }
}

/// Events that may wait to be looked at before nothing more is taken in.
const MAX_EVENTS: usize = 64;

/// An authenticated connection.
pub struct Connection {
    transport: Transport,
    limits: Limits,
    channels: Channels,
    globals: Globals,
    /// What the windows have grown by.
    grown: usize,
    /// What waits to be taken.
    unread: usize,
    /// Memory of what was taken.
    spares: Spares,
    probe: Probe,
    events: VecDeque<Event>,
    /// Channels whose writers wait for room, in the order in which they came.
    blocked: VecDeque<ChannelId>,
    now: Duration,
    /// When the peer was last heard, or asked since.
    heard: Duration,
    /// Keep-alives since the peer was last heard.
    unheard: u32,
}

/// What a connection needs or tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The host key has to sign; see [`Connection::signed`].
    Sign(ToSign),
    /// Something about a channel.
    Channel(ChannelId, ChannelEvent),
    /// The client wants something of a session; with a token where it wants an answer.
    Request(ChannelId, Request, Option<Token>),
    /// The client wants something of the connection as a whole; always with an answer.
    Global(GlobalRequest, Token),
    /// The client no longer wants a listener, and no answer either; OpenSSH's never does.
    CancelListen(ListenAt),
    /// The peer's answer to the global request of ours that waits longest.
    GlobalAnswer(GlobalAnswer),
}

impl Connection {
    pub(crate) fn new(transport: Transport, limits: Limits) -> Self {
        Self {
            transport,
            limits,
            channels: Channels::default(),
            globals: Globals::default(),
            grown: 0,
            unread: 0,
            spares: Spares::default(),
            probe: Probe::default(),
            events: VecDeque::new(),
            blocked: VecDeque::new(),
            now: Duration::ZERO,
            heard: Duration::ZERO,
            unheard: 0,
        }
    }

    /// Takes in what arrived and says how many bytes it took; the rest has to be shown again, with what follows it. What
    /// is taken is overwritten.
    pub fn receive(&mut self, input: &mut [u8]) -> Result<usize, Error> {
        let sent_before = self.transport.sends();
        let taken = receive(self, input)?;
        if taken > 0 {
            (self.heard, self.unheard) = (self.now, 0);
        }
        if !sent_before {
            self.tell_writers();
        }
        Ok(taken)
    }

    /// Whether no input is taken for now: something has to be answered, looked at or sent first.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.transport.waits_for_answer()
            || self.events.len() >= MAX_EVENTS
            || self.transport.output() >= self.limits.output + MAX_ANSWERS
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Exchanges what is to be sent for `empty`, whose room is used from now on.
    pub fn take_output(&mut self, empty: &mut Vec<u8>) {
        self.transport.take_output(empty);
        self.tell_writers();
    }

    /// Whether there is something to be sent.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.transport.output() > 0
    }

    /// Time passes; `now` counts from the beginning of the connection. Asks a silent peer whether it is there, and
    /// agrees on fresh keys when it is time to.
    pub fn tick(&mut self, now: Duration) -> Result<(), Error> {
        self.now = now;
        self.transport.tick(now)?;
        let keepalive = self.transport.settings().keepalive;
        if self.is_waiting() || keepalive.interval.is_zero() {
            // While we do not listen, silence is our own doing.
            self.heard = now;
        } else if now >= self.ask_at() {
            if self.unheard >= keepalive.count {
                return Err(Error::Silent);
            }
            self.unheard += 1;
            self.heard = now;
            self.ask_whether_alive();
        }
        Ok(())
    }

    /// When [`Self::tick`] is next needed; to be asked again whenever something was received or sent.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let rekey = self.transport.deadline();
        if self.transport.settings().keepalive.interval.is_zero() { rekey } else { rekey.min(self.ask_at()) }
    }

    fn ask_at(&self) -> Duration {
        self.heard.saturating_add(self.transport.settings().keepalive.interval)
    }

    /// The input was not looked at for a while, for reasons of whoever drives this: the peer's silence does not count,
    /// and a key exchange that is under way has its whole time again. The peer is asked all the same, so that the network
    /// can say that it is gone.
    pub fn was_deaf(&mut self) {
        self.unheard = 0;
        self.transport.was_deaf(self.now);
    }

    /// The answer to [`Event::Sign`]: a signature blob.
    pub fn signed(&mut self, signature: &[u8]) -> Result<(), Error> {
        self.transport.signed(signature)?;
        self.tell_writers();
        Ok(())
    }

    /// Says goodbye. Nothing is to be done with the connection after it but to send the output.
    pub fn disconnect(&mut self, text: &str) {
        self.transport.disconnect(Disconnect::ByApplication, text);
    }

    /// Says something that the peer's user sees when it asks for details (RFC 4253, section 11.3); `ssh -v` shows it.
    pub fn remark(&mut self, text: &str) {
        self.transport.send(|message| {
            message.put_u8(DEBUG);
            message.put_boolean(false);
            message.put_string(text.as_bytes());
            message.put_string(b"");
        });
    }

    /// What both sides agreed on.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.transport.session().map(|session| session.negotiated)
    }

    /// The identifier of the session (RFC 4253, section 7.2).
    #[must_use]
    pub fn session_id(&self) -> &[u8] {
        self.transport.session().map_or(&[], |session| &session.id)
    }

    /// Bytes that arrived and wait to be taken, of all channels.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// How many channels there are.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.iter().count()
    }

    fn tell(&mut self, id: ChannelId, event: ChannelEvent) {
        self.events.push_back(Event::Channel(id, event));
    }

    /// Tells those who wait for room that there is some.
    fn tell_writers(&mut self) {
        if self.blocked.is_empty() || !self.has_room() {
            return;
        }
        let blocked = std::mem::take(&mut self.blocked);
        for id in blocked {
            match self.channels.find(id) {
                Some(channel) if channel.wants_room && channel.window == 0 && channel.sends() => {
                    self.blocked.push_back(id);
                }
                Some(channel) if channel.wants_room => {
                    channel.wants_room = false;
                    self.tell(id, ChannelEvent::Writable);
                }
                _ => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        self.transport.sends() && self.transport.output() < self.limits.output
    }
}

impl Layer for Connection {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn holds_back(&self) -> bool {
        self.is_waiting()
    }

    fn message(&mut self, message: &[u8]) -> Result<(), Violation> {
        match message[0] {
            CHANNEL_DATA => self.data(message),
            CHANNEL_WINDOW_ADJUST => self.window_adjust(message),
            CHANNEL_EXTENDED_DATA => self.extended_data(message),
            CHANNEL_EOF => self.eof_received(message),
            CHANNEL_CLOSE => self.close_received(message),
            CHANNEL_REQUEST => self.request_received(message),
            CHANNEL_SUCCESS => self.answered(message, true),
            CHANNEL_FAILURE => self.answered(message, false),
            CHANNEL_OPEN => self.open_received(message),
            CHANNEL_OPEN_CONFIRMATION => self.confirmed(message),
            CHANNEL_OPEN_FAILURE => self.failed(message),
            GLOBAL_REQUEST => self.global_received(message),
            REQUEST_SUCCESS => self.global_answered(Some(&message[1..])),
            REQUEST_FAILURE => self.global_answered(None),
            PONG => self.pong(),
            // RFC 4252, section 5.1: requests that were sent before the success was seen are ignored.
            USERAUTH_REQUEST if self.transport.role() == Role::Server => Ok(()),
            number => Err(Violation::new(format!("message {number} is not expected on a connection"))),
        }
    }

    fn wish(&mut self, wish: Wish) {
        if let Wish::Sign(to_sign) = wish {
            self.events.push_back(Event::Sign(to_sign));
        }
    }
}
