//! The transport layer (RFC 4253): identification, key exchange, and packets for the layers above.
//!
//! [`Transport::next`] takes one packet at a time. What belongs to this layer ends here; everything else goes up, and
//! only while no key exchange forbids it.

pub(crate) mod exchange;
#[cfg(fuzzing)]
mod fuzzing;
mod layer;
#[cfg(test)]
pub(crate) mod raw;
mod wish;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use layer::{Layer, receive};
pub(crate) use wish::Wish;
pub use wish::{HostKeyShown, ToSign};

use crate::algorithms::KeyAlgorithm;
use crate::error::{Error, Violation, plain};
use crate::identification::{Found, Search};
use crate::message::{
    DEBUG, DISCONNECT, Disconnect, EXT_INFO, IGNORE, KEX_INIT, KEX_REPLY, KEXINIT, NEWKEYS, PING, PONG,
    REQUEST_FAILURE, REQUEST_SUCCESS, SERVICE_ACCEPT, SERVICE_REQUEST, UNIMPLEMENTED,
};
use crate::negotiation::{Negotiated, Offer};
use crate::packet::{Incoming, Outgoing};
use crate::role::Role;
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;
use exchange::Exchange;

/// What both roles need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What we call ourselves; without a version, since nobody needs it before authentication.
    pub software: &'static str,
    /// What is offered.
    pub offer: Offer,
    /// When fresh keys are agreed on.
    pub rekey: Rekey,
    /// How a silent peer is noticed.
    pub keepalive: Keepalive,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            software: "Postern",
            offer: Offer::default(),
            rekey: Rekey::default(),
            keepalive: Keepalive::default(),
        }
    }
}

/// When fresh keys are agreed on during a connection, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rekey {
    /// After so many bytes in either direction; 1 GiB is what RFC 4253, section 9 recommends.
    pub bytes: u64,
    /// After so many packets in either direction (RFC 4344, section 3.1: at most 2^31).
    pub packets: u64,
    /// After so long.
    pub interval: Duration,
}

impl Default for Rekey {
    fn default() -> Self {
        Self { bytes: 1 << 30, packets: 1 << 28, interval: Duration::from_secs(3600) }
    }
}

/// How a silent peer is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// After this long without a byte from the peer it is asked whether it is there; zero means never.
    pub interval: Duration,
    /// After this many intervals without an answer the connection ends.
    pub count: u32,
}

impl Default for Keepalive {
    /// Five minutes, three times.
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), count: 3 }
    }
}

/// How long a key exchange may take at least, and where nobody said how long a peer may be silent.
const EXCHANGE_TIME: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(1200));
/// Packets that a peer may send under the same keys, however long it takes to agree on others (RFC 4344, section 3.1).
const MOST_PACKETS: u64 = 1 << 31;
/// What may wait for the end of a key exchange, in bytes. A peer can make us answer only until it begins its half.
const MAX_HELD: usize = 1 << 20;
/// What waits to be sent besides data, before nothing more is taken in that could be answered.
pub(crate) const MAX_ANSWERS: usize = 256 << 10;
/// `EXT_INFO`s of one peer: after its first `NEWKEYS`, and a server's once more before the login succeeds (RFC 8308,
/// section 2.4).
const MOST_EXT_INFOS: u32 = 2;
/// Extensions in one `EXT_INFO`.
const MAX_EXTENSIONS: u32 = 64;

/// One end of the transport layer.
pub(crate) struct Transport {
    role: Role,
    settings: Arc<Settings>,
    /// Of a server: what it can show, most preferred first. Of a client: what it accepts.
    host_keys: Vec<HostKey>,
    incoming: Incoming,
    outgoing: Outgoing,
    identification: Result<Vec<u8>, Search>,
    exchange: Exchange,
    wish: Option<Wish>,
    session: Option<Session>,
    /// What waits for the end of a key exchange: messages as strings, in one piece, since many are short.
    held: Vec<u8>,
    /// When the current exchange began, or the last one ended; nothing when that was after the last tick.
    since: Option<Duration>,
    authenticated: bool,
    extensions: Extensions,
    /// How it ended. Nothing is sent or taken after that.
    over: Option<Error>,
}

/// What a server can show for one algorithm. A client has no blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// By which it signs.
    pub algorithm: KeyAlgorithm,
    /// The key or certificate, as on the wire.
    pub blob: Vec<u8>,
}

/// What stays for the life of a connection once its first key exchange is done.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The first exchange hash (RFC 4253, section 7.2).
    pub(crate) id: Vec<u8>,
    pub(crate) negotiated: Negotiated,
    /// What the server showed.
    pub(crate) host_key: Vec<u8>,
}

/// What the peer can do besides (RFC 8308).
#[derive(Debug, Clone, Default)]
pub(crate) struct Extensions {
    /// `ping@openssh.com`
    pub(crate) ping: bool,
    /// How often the peer said.
    told: u32,
}

/// One step of taking the input in.
pub(crate) enum Step<'a> {
    /// The input holds no whole packet, or something has to be answered first.
    Nothing,
    /// So many bytes were for this layer.
    Taken(usize),
    /// So many bytes were a message for the layer above.
    Message(usize, &'a [u8]),
}

impl Transport {
    /// Begins: the identification and our `KEXINIT` go out at once, since neither depends on the peer.
    pub(crate) fn new(role: Role, settings: Arc<Settings>, host_keys: Vec<HostKey>) -> Self {
        let mut transport = Self {
            role,
            host_keys,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            identification: Err(Search::default()),
            exchange: Exchange::Idle,
            wish: None,
            session: None,
            held: Vec::new(),
            since: None,
            authenticated: false,
            extensions: Extensions::default(),
            over: None,
            settings,
        };
        let line = format!("{}\r\n", transport.own_identification());
        transport.outgoing.raw(line.as_bytes());
        transport.begin_exchange();
        transport
    }

    fn own_identification(&self) -> String {
        format!("SSH-2.0-{}", self.settings.software)
    }

    /// Takes one packet from the front of `input`, which is overwritten as far as it is taken.
    pub(crate) fn next<'i>(&mut self, input: &'i mut [u8]) -> Result<Step<'i>, Error> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        if self.exchange.waits_for_answer() {
            return Ok(Step::Nothing);
        }
        if self.held.len() > MAX_HELD {
            return Err(self.fail(Violation::exchange("too much is asked for while keys are exchanged")));
        }
        if let Err(search) = &mut self.identification {
            return match search.next(self.role, input).map_err(|violation| self.turn_away(violation))? {
                Found::Nothing => Ok(Step::Nothing),
                Found::Preamble(taken) => Ok(Step::Taken(taken)),
                Found::Line(line, taken) => {
                    self.identification = Ok(line);
                    Ok(Step::Taken(taken))
                }
            };
        }
        match self.incoming.open(input).map_err(|violation| self.fail(violation))? {
            None => Ok(Step::Nothing),
            Some(opened) => match self.dispatch(opened.payload)? {
                true => Ok(Step::Message(opened.taken, opened.payload)),
                false => Ok(Step::Taken(opened.taken)),
            },
        }
    }

    /// Deals with what belongs to this layer; says whether the message is for the layer above.
    fn dispatch(&mut self, message: &[u8]) -> Result<bool, Error> {
        let number = message[0];
        if number == DISCONNECT {
            return Err(self.over.insert(disconnected(message)).clone());
        }
        let outcome = match number {
            KEXINIT => self.peer_kexinit(message),
            KEX_INIT..=49 if self.exchange.takes_guess() => Ok(()),
            NEWKEYS | KEX_INIT | KEX_REPLY => self.exchange_message(message),
            // In the first exchange nothing may come between if it is strict; whether it is, is known only after the
            // peer's first message, so that one is looked at again then.
            IGNORE | DEBUG | UNIMPLEMENTED if !self.is_strict_first() => Ok(()),
            // paramiko answers a request of ours also between its KEXINIT and its NEWKEYS. To take that in does nothing
            // but count it; to refuse it would end connections for our own curiosity about whether they are alive.
            REQUEST_SUCCESS | REQUEST_FAILURE if self.authenticated => return Ok(true),
            _ if self.session.is_none() || !self.exchange.receives() => self.unexpected(number),
            EXT_INFO => self.ext_info(message),
            PING => self.ping(message),
            SERVICE_REQUEST | SERVICE_ACCEPT | PONG | 50..=127 => return Ok(true),
            _ => self.unexpected(number),
        };
        outcome.map(|()| false).map_err(|violation| self.fail(violation))
    }

    /// The first exchange lasts until the peer's keys are in use; ours may be before.
    fn is_strict_first(&self) -> bool {
        self.incoming.is_plain() && self.exchange.is_strict()
    }

    fn unexpected(&self, number: u8) -> Result<(), Violation> {
        let during = if self.exchange.is_idle() { "" } else { " during a key exchange" };
        Err(Violation::new(format!("message {number} is not expected here{during}")))
    }

    /// RFC 8308. Where it is not expected, it is refused by the layers above.
    fn ext_info(&mut self, message: &[u8]) -> Result<(), Violation> {
        if self.authenticated || self.extensions.told == MOST_EXT_INFOS {
            return self.unexpected(EXT_INFO);
        }
        self.extensions.told += 1;
        let mut reader = Reader::new(&message[1..]);
        let count = reader.uint32()?;
        if count > MAX_EXTENSIONS {
            return Err(Violation::new("too many extensions"));
        }
        for _ in 0..count {
            let (name, _) = (reader.string()?, reader.string()?);
            // What signatures a server takes is of no use to keys that make but one kind.
            if name == b"ping@openssh.com" {
                self.extensions.ping = true;
            }
        }
        Ok(reader.end()?)
    }

    fn ping(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let data = reader.string()?;
        reader.end()?;
        self.send(|message| {
            message.put_u8(PONG);
            message.put_string(data);
        });
        Ok(())
    }

    /// Sends a message, after the key exchange if there is one.
    pub(crate) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.over.is_some() {
            return;
        }
        if self.exchange.sends() {
            self.outgoing.send(write);
            return;
        }
        let start = self.held.len();
        self.held.put_u32(0);
        write(&mut self.held);
        let length = u32::try_from(self.held.len() - start - 4).expect("no message of ours is 4 GiB long");
        self.held[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Whether messages go out at once, so that data should be handed over.
    pub(crate) fn sends(&self) -> bool {
        self.over.is_none() && self.exchange.sends()
    }

    fn send_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut messages = Reader::new(&held);
        while let Ok(message) = messages.string() {
            self.outgoing.send(|packet| packet.put_slice(message));
        }
    }

    /// Bytes that can be sent now.
    pub(crate) fn output(&self) -> usize {
        self.outgoing.waiting()
    }

    pub(crate) fn take_output(&mut self, empty: &mut Vec<u8>) {
        self.outgoing.take(empty);
    }

    /// Time passes; agrees on fresh keys when it is time to.
    pub(crate) fn tick(&mut self, now: Duration) -> Result<(), Error> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        let elapsed = now.saturating_sub(*self.since.get_or_insert(now));
        if self.session.is_some() && !self.exchange.is_idle() && elapsed >= self.exchange_time() {
            return Err(self.fail(Violation::exchange("a key exchange takes too long")));
        }
        if self.incoming.used().packets >= MOST_PACKETS {
            return Err(self.fail(Violation::exchange("too much comes under keys that are used up")));
        }
        let may = self.authenticated && self.exchange.is_idle();
        if may && (self.keys_are_used_up() || elapsed >= self.settings.rekey.interval) {
            self.begin_exchange();
        }
        Ok(())
    }

    fn keys_are_used_up(&self) -> bool {
        let (received, sent) = (self.incoming.used(), self.outgoing.used());
        let Rekey { bytes, packets, .. } = self.settings.rekey;
        received.bytes.max(sent.bytes) >= bytes || received.packets.max(sent.packets) >= packets
    }

    /// How long a key exchange may take once it has begun: as long as the peer may be silent. A client that was put to
    /// sleep is no worse off in the middle of one than at any other time.
    fn exchange_time(&self) -> Duration {
        let Keepalive { interval, count } = self.settings.keepalive;
        if interval.is_zero() {
            return EXCHANGE_TIME.1;
        }
        interval.saturating_mul(count.saturating_add(1)).max(EXCHANGE_TIME.0)
    }

    /// What the peer said about a key exchange may lie in input that nobody looked at.
    pub(crate) fn was_deaf(&mut self, now: Duration) {
        if !self.exchange.is_idle() {
            self.since = Some(now);
        }
    }

    /// When [`Self::tick`] is next needed: at once where keys are used up or time has to be taken.
    pub(crate) fn deadline(&self) -> Duration {
        let Some(since) = self.since else { return Duration::ZERO };
        match self.exchange.is_idle() {
            true if self.keys_are_used_up() => Duration::ZERO,
            true => since.saturating_add(self.settings.rekey.interval),
            false => since.saturating_add(self.exchange_time()),
        }
    }

    /// Fresh keys may be agreed on from now on, and the layers above are open.
    pub(crate) fn authenticated(&mut self) {
        self.authenticated = true;
    }

    /// Says goodbye with the rule that was broken.
    pub(crate) fn fail(&mut self, violation: Violation) -> Error {
        self.disconnect(violation.code, &violation.text);
        self.over.insert(Error::Violation(violation)).clone()
    }

    /// To what does not speak SSH a packet is noise; servers say in a line what they want.
    fn turn_away(&mut self, violation: Violation) -> Error {
        if self.role == Role::Client {
            return self.fail(violation);
        }
        self.outgoing.raw(b"Invalid SSH identification string.\r\n");
        self.over.insert(Error::Violation(violation)).clone()
    }

    /// Says goodbye, once.
    pub(crate) fn disconnect(&mut self, code: Disconnect, text: &str) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(Error::Ended(text.to_owned()));
        self.outgoing.send(|message| {
            message.put_u8(DISCONNECT);
            message.put_u32(code as u32);
            message.put_string(text.as_bytes());
            message.put_string(b"");
        });
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Once the first key exchange is done.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What has to be answered before anything goes on. Each is given once.
    pub(crate) fn take_wish(&mut self) -> Option<Wish> {
        self.wish.take()
    }

    /// Whether nothing goes on before a wish is answered.
    pub(crate) fn waits_for_answer(&self) -> bool {
        self.over.is_none() && self.exchange.waits_for_answer()
    }
}

fn disconnected(message: &[u8]) -> Error {
    let mut reader = Reader::new(&message[1..]);
    let code = reader.uint32().unwrap_or(0);
    let text = plain(reader.string().unwrap_or_default());
    Error::Disconnected { code, text }
}
