//! What the fuzz targets need of the inside: parsers that have no entry of their own, ends that have authenticated
//! without a handshake, and the messages of an end before they are sealed.
//!
//! All of it is there only under `--cfg fuzzing`, which no build of the product sets. Even then nothing here weakens an
//! end by itself: a [`Tamper`] has to be prepared for it, or it has to be made in the clear.

use std::cell::RefCell;

use crate::algorithms::{Cipher, KeyAlgorithm};
use crate::cipher::{Opening, Sealing};
use crate::identification::{Found, Search};
use crate::negotiation::{Negotiated, Offer, agree, kexinit};
use crate::packet::{Incoming, Outgoing};
use crate::role::Role;

pub use crate::connection::Gauge;

/// Sees each message that an end sends, before it is sealed, and says what goes out in its place.
pub struct Tamper(Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>);

thread_local! {
    static PREPARED: RefCell<Option<Tamper>> = const { RefCell::new(None) };
}

impl Tamper {
    /// The end that is made next in this thread sends what `replace` says. An empty message is not legal, so none may
    /// come from it.
    pub fn prepare(replace: impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + 'static) {
        prepare(Some(Self(Box::new(replace))));
    }

    pub(crate) fn of(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Vec<Vec<u8>> {
        let mut message = Vec::new();
        write(&mut message);
        (self.0)(message)
    }
}

pub(crate) fn prepare(tamper: Option<Tamper>) {
    PREPARED.set(tamper);
}

/// What was prepared for this end.
pub(crate) fn prepared() -> Option<Tamper> {
    PREPARED.take()
}

/// Looks for the peer's identification from the start of a stream; gives how much was taken and the line, if there is
/// one.
#[must_use]
pub fn identification(role: Role, stream: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (mut search, mut taken) = (Search::default(), 0);
    loop {
        match search.next(role, &stream[taken..]).ok()? {
            Found::Nothing => return None,
            Found::Preamble(count) => taken += count,
            Found::Line(line, count) => return Some((taken + count, line)),
        }
    }
}

/// Takes a stream apart into payloads as before the first key exchange; gives how much was taken, the payloads, and
/// whether the rest is not the beginning of a packet.
#[must_use]
pub fn packets(stream: &mut [u8]) -> (usize, Vec<Vec<u8>>, bool) {
    let (mut incoming, mut taken, mut payloads) = (Incoming::new(), 0, Vec::new());
    loop {
        match incoming.open(&mut stream[taken..]) {
            Ok(Some(opened)) => {
                payloads.push(opened.payload.to_vec());
                taken += opened.taken;
            }
            Ok(None) => return (taken, payloads, false),
            Err(_) => return (taken, payloads, true),
        }
    }
}

/// The packet in which a payload travels before the first key exchange.
#[must_use]
pub fn packet(payload: &[u8]) -> Vec<u8> {
    let (mut outgoing, mut packet) = (Outgoing::new(), Vec::new());
    outgoing.send(|message| message.extend_from_slice(payload));
    outgoing.take(&mut packet);
    packet
}

/// One direction's ends with fixed keys: seals payloads one after another into one stream, lets `change` have its way
/// with it, and gives the payloads that are opened before the stream ends or is found to be changed.
pub fn through(cipher: Cipher, payloads: &[&[u8]], change: impl FnOnce(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    // Fresh ones each time: under keys that stay, a corpus comes to hold packets that are authentic.
    let (mut key, mut iv) = (vec![0; cipher.key_length()], vec![0; cipher.iv_length()]);
    aws_lc_rs::rand::fill(&mut key).expect("the system has randomness");
    aws_lc_rs::rand::fill(&mut iv).expect("the system has randomness");
    let (mut outgoing, mut incoming, mut stream) = (Outgoing::new(), Incoming::new(), Vec::new());
    outgoing.rekey(Sealing::new(cipher, &key, &iv), cipher, true);
    incoming.rekey(Opening::new(cipher, &key, &iv), true);
    for payload in payloads {
        outgoing.send(|message| message.extend_from_slice(payload));
    }
    outgoing.take(&mut stream);
    change(&mut stream);
    let (mut opened, mut rest) = (Vec::new(), &mut stream[..]);
    while let Ok(Some(packet)) = incoming.open(rest) {
        opened.push(packet.payload.to_vec());
        let taken = packet.taken;
        rest = &mut rest[taken..];
    }
    opened
}

/// What keys would come into use for after a peer's `KEXINIT` and ours that offers everything.
#[must_use]
pub fn negotiation(role: Role, theirs: &[u8], before: Option<bool>) -> Option<Negotiated> {
    let ours = kexinit(role, &Offer::default(), &KeyAlgorithm::ALL, before.is_none());
    let (negotiated, _) = agree(role, &ours, theirs, before).ok()?;
    negotiated.check().is_ok().then_some(negotiated)
}
