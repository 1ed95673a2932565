//! A peer that says what it is told to, whatever the rules: for tests of what the other end makes of it.
//!
//! It keeps the keys and counts the packets as an honest peer would, and answers nothing but key exchanges, and those
//! only while it listens.

use std::sync::Arc;

use super::exchange::Exchange;
use super::{HostKey, Keepalive, Settings, Step, Transport, Wish};
use crate::algorithms::{Cipher, KeyAlgorithm, KeyExchange, SignatureScheme};
use crate::connection::{Connection, Event, Limits};
use crate::error::Error;
use crate::keys::SigningKey;
use crate::message::{SERVICE_ACCEPT, SERVICE_REQUEST, USERAUTH_REQUEST, USERAUTH_SUCCESS};
use crate::negotiation::Offer;
use crate::packet::{Incoming, Outgoing};
use crate::role::Role;
use crate::wire::{Reader, Writer as _};
use crate::{client, server};
use bytes::BufMut as _;

/// The end that is tried.
pub(crate) enum End {
    Server(server::Handshake),
    Client(client::Handshake),
    Connection(Box<Connection>),
    /// Somewhere between two of the others.
    Gone,
}

/// What the end that is tried tells.
#[derive(Debug)]
pub(crate) enum Told {
    Server(server::Event),
    Client(client::Event),
    Connection(Event),
}

/// The peer, and the end that is tried.
pub(crate) struct Raw {
    pub(crate) end: End,
    pub(crate) transport: Transport,
    host: SigningKey,
    user: SigningKey,
    /// What the end said and the peer has not listened to.
    said: Vec<u8>,
    /// What the peer said and the end has not taken.
    pending: Vec<u8>,
    /// Messages of the layers above that the end sent.
    pub(crate) heard: Vec<Vec<u8>>,
    /// How the end says goodbye.
    pub(crate) goodbye: Option<Error>,
}

/// Fast, and nothing happens by itself.
pub(crate) fn settings() -> Settings {
    let offer = Offer { key_exchange: vec![KeyExchange::Curve25519], ciphers: vec![Cipher::Aes128Gcm] };
    let keepalive = Keepalive { interval: std::time::Duration::ZERO, count: 0 };
    Settings { offer, keepalive, ..Settings::default() }
}

const PLAIN: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: false };
pub(crate) const CERTIFIED: KeyAlgorithm =
    KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: true };

/// A user key in something that looks like a certificate: what is read of one here.
pub(crate) fn certificate(key: &SigningKey) -> Vec<u8> {
    let plain = key.public().blob();
    let mut blob = Vec::new();
    blob.put_string(CERTIFIED.name().as_bytes());
    blob.put_string(&[7; 32]);
    blob.put_slice(&plain[4 + PLAIN.name().len()..]);
    blob.put_u64(1);
    blob.put_u32(1);
    for part in [&b"id"[..], b""] {
        blob.put_string(part);
    }
    blob.put_u64(0);
    blob.put_u64(u64::MAX);
    for part in [&b""[..], b"", b"", &plain, &plain] {
        blob.put_string(part);
    }
    blob
}

/// A packet of a side that has no keys yet.
pub(crate) fn plain(payload: &[u8]) -> Vec<u8> {
    let (mut outgoing, mut packet) = (Outgoing::new(), Vec::new());
    outgoing.send(|message| message.put_slice(payload));
    outgoing.take(&mut packet);
    packet
}

impl Transport {
    /// The number of the next packet of the other side.
    pub(crate) fn sequence(&self) -> u32 {
        self.incoming.sequence()
    }
}

#[allow(dead_code, reason = "each test uses some of it")]
impl Raw {
    /// A client that tries a server. Nothing was sent yet.
    pub(crate) fn against_server(settings: Settings, limits: Limits) -> Self {
        let (host, user) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let settings = Arc::new(settings);
        let config = server::Config {
            settings: Arc::clone(&settings),
            host_keys: vec![HostKey { algorithm: PLAIN, blob: host.public().blob() }],
            announced: Vec::new(),
            limits,
        };
        let accepted = vec![HostKey { algorithm: PLAIN, blob: Vec::new() }];
        let transport = Transport::new(Role::Client, settings, accepted);
        Self::new(End::Server(server::Handshake::new(Arc::new(config))), transport, host, user)
    }

    /// Puts another `KEXINIT` in place of its first one.
    pub(crate) fn offer_instead(&mut self, edit: impl FnOnce(&str) -> String, guess: bool) {
        let Exchange::Begun { ours } = &mut self.transport.exchange else { panic!("it has begun") };
        let (head, rest) = ours.split_at(1 + 16);
        let mut reader = Reader::new(rest);
        let exchanges = edit(reader.text().expect("ours"));
        let mut edited = head.to_vec();
        edited.put_string(exchanges.as_bytes());
        edited.put_slice(reader.rest());
        let flag = edited.len() - 5;
        edited[flag] = u8::from(guess);
        ours.clone_from(&edited);
        let begun = self.take_said();
        let line = begun.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        self.transport.outgoing.raw(&begun[..line]);
        self.say(&edited);
    }

    /// Has another host key from now on.
    pub(crate) fn change_host_key(&mut self) {
        self.host = SigningKey::generate_ed25519();
        self.transport.host_keys[0].blob = self.host.public().blob();
    }

    /// The peer offers something else in the exchanges that follow.
    pub(crate) fn change_offer(&mut self, offer: Offer) {
        let settings = Settings { offer, ..(*self.transport.settings).clone() };
        self.transport.settings = Arc::new(settings);
    }

    /// A server that tries a client.
    pub(crate) fn against_client(settings: Settings, limits: Limits) -> Self {
        let (host, user) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
        let settings = Arc::new(settings);
        let config = client::Config {
            settings: Arc::clone(&settings),
            host_keys: vec![PLAIN],
            login: "alice".to_owned(),
            algorithm: CERTIFIED,
            blob: certificate(&user),
            limits,
        };
        let shown = vec![HostKey { algorithm: PLAIN, blob: host.public().blob() }];
        let transport = Transport::new(Role::Server, settings, shown);
        Self::new(End::Client(client::Handshake::new(Arc::new(config))), transport, host, user)
    }

    /// Against the end of the other role, as far as its connection.
    pub(crate) fn connected(tried: Role, limits: Limits) -> Self {
        let mut raw = match tried {
            Role::Server => Self::against_server(settings(), limits),
            Role::Client => Self::against_client(settings(), limits),
        };
        raw.exchange_keys();
        raw.log_in();
        raw
    }

    fn new(end: End, transport: Transport, host: SigningKey, user: SigningKey) -> Self {
        let (said, pending, heard) = (Vec::new(), Vec::new(), Vec::new());
        Self { end, transport, host, user, said, pending, heard, goodbye: None }
    }

    /// Sends a message under the keys in use, whatever the rules.
    pub(crate) fn say(&mut self, message: &[u8]) {
        self.transport.outgoing.send(|packet| packet.put_slice(message));
    }

    /// Listens, and says its half of a key exchange without the `NEWKEYS` behind it: what it says after that still goes
    /// under the keys of before.
    pub(crate) fn say_half(&mut self) {
        let half = self.half();
        self.say(&half);
    }

    /// The same without saying it.
    pub(crate) fn half(&mut self) -> Vec<u8> {
        let before = std::mem::replace(&mut self.transport.outgoing, Outgoing::new());
        self.listen();
        let mut said = self.take_said();
        self.transport.outgoing = before;
        Incoming::new().open(&mut said).expect("a good packet").expect("a half").payload.to_vec()
    }

    /// What the peer's transport wants to send, in place of being delivered.
    pub(crate) fn take_said(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.transport.take_output(&mut output);
        output
    }

    /// The end takes in what was said.
    pub(crate) fn deliver(&mut self) -> Result<(), Error> {
        let output = self.take_said();
        self.deliver_bytes(&output)
    }

    /// The end takes in these bytes.
    pub(crate) fn deliver_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.pending.extend_from_slice(bytes);
        let input = &mut self.pending;
        let taken = match &mut self.end {
            End::Server(end) => end.receive(input),
            End::Client(end) => end.receive(input),
            End::Connection(end) => end.receive(input),
            End::Gone => Ok(0),
        };
        taken.map(|taken| drop(self.pending.drain(..taken)))
    }

    /// Bytes that the end has not taken.
    pub(crate) fn untaken(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn told(&mut self) -> Option<Told> {
        match &mut self.end {
            End::Server(end) => end.event().map(Told::Server),
            End::Client(end) => end.event().map(Told::Client),
            End::Connection(end) => end.event().map(Told::Connection),
            End::Gone => None,
        }
    }

    /// Says yes to what the end needs for a key exchange; gives what else it told.
    pub(crate) fn obey(&mut self) -> Vec<Told> {
        let mut others = Vec::new();
        while let Some(told) = self.told() {
            match (told, &mut self.end) {
                (Told::Server(server::Event::Sign(to_sign)), End::Server(end)) => {
                    let signature = self.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                    end.signed(&signature.expect("signs")).expect("keys");
                }
                (Told::Connection(Event::Sign(to_sign)), End::Connection(end)) => {
                    let signature = self.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                    end.signed(&signature.expect("signs")).expect("keys");
                }
                (Told::Client(client::Event::Host(_)), End::Client(end)) => end.trust().expect("keys"),
                (Told::Client(client::Event::Sign(to_sign)), End::Client(end)) => {
                    let signature = self.user.sign(to_sign.algorithm.scheme, &to_sign.data);
                    end.signed(&signature.expect("signs"));
                }
                (told, _) => others.push(told),
            }
        }
        others
    }

    /// Takes the end's output without listening to it, and says how much it was.
    pub(crate) fn overhear(&mut self) -> usize {
        let mut output = Vec::new();
        match &mut self.end {
            End::Server(end) => end.take_output(&mut output),
            End::Client(end) => end.take_output(&mut output),
            End::Connection(end) => end.take_output(&mut output),
            End::Gone => {}
        }
        self.said.extend_from_slice(&output);
        output.len()
    }

    /// Takes the end's output and throws it away: nothing can be heard after that. Says how much it was.
    pub(crate) fn discard(&mut self) -> usize {
        let count = self.overhear();
        self.said.clear();
        count
    }

    /// Listens to what the end said, and does its part of key exchanges.
    pub(crate) fn listen(&mut self) {
        self.overhear();
        while self.goodbye.is_none() {
            match self.transport.next(&mut self.said) {
                Ok(Step::Nothing) => break,
                Ok(Step::Taken(taken)) => drop(self.said.drain(..taken)),
                Ok(Step::Message(taken, message)) => {
                    self.heard.push(message.to_vec());
                    self.said.drain(..taken);
                }
                Err(error) => self.goodbye = Some(error),
            }
            match self.transport.take_wish() {
                Some(Wish::Trust(_)) => self.transport.trust().expect("keys"),
                Some(Wish::Sign(to_sign)) => {
                    let signature = self.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                    self.transport.signed(&signature.expect("signs")).expect("keys");
                }
                None => {}
            }
        }
    }

    /// Goes on until nothing is left to say; gives what the end told.
    pub(crate) fn settle(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            self.listen();
            let output = self.take_said();
            let before = self.pending.len() + output.len();
            self.deliver_bytes(&output).expect("this peer keeps the rules");
            told.append(&mut self.obey());
            if self.pending.len() == before && self.overhear() == 0 {
                return told;
            }
        }
    }

    /// As far as the first keys are in use on both sides.
    pub(crate) fn exchange_keys(&mut self) {
        self.settle();
        assert!(self.transport.session().is_some(), "there are keys");
    }

    /// The client's whole request, with its signature.
    pub(crate) fn request(&self, login: &str) -> Vec<u8> {
        let blob = certificate(&self.user);
        let mut request = vec![USERAUTH_REQUEST];
        for part in [login.as_bytes(), b"ssh-connection", b"publickey"] {
            request.put_string(part);
        }
        request.put_boolean(true);
        request.put_string(CERTIFIED.name().as_bytes());
        request.put_string(&blob);
        let mut data = Vec::new();
        data.put_string(&self.transport.session().expect("keys").id);
        data.put_slice(&request);
        request.put_string(&self.user.sign(CERTIFIED.scheme, &data).expect("signs"));
        request
    }

    /// As far as the connection.
    pub(crate) fn log_in(&mut self) {
        match self.end {
            End::Server(_) => {
                let mut service = vec![SERVICE_REQUEST];
                service.put_string(b"ssh-userauth");
                self.say(&service);
                self.say(&self.request("alice"));
                self.admit();
            }
            End::Client(_) => {
                let mut service = vec![SERVICE_ACCEPT];
                service.put_string(b"ssh-userauth");
                self.say(&service);
                self.say(&[USERAUTH_SUCCESS]);
                self.settle();
                let End::Client(end) = std::mem::replace(&mut self.end, End::Gone) else { return };
                self.end = End::Connection(Box::new(end.connection().expect("accepted")));
            }
            End::Connection(_) | End::Gone => {}
        }
        self.transport.authenticated();
        self.heard.clear();
    }

    /// The server that is tried takes the proof that it was sent.
    fn admit(&mut self) {
        let told = self.settle();
        let Some(Told::Server(server::Event::Proof(proof))) = told.into_iter().next() else {
            panic!("a proof was sent");
        };
        let proven = proof.verify().expect("is good");
        let End::Server(end) = std::mem::replace(&mut self.end, End::Gone) else { return };
        self.end = End::Connection(Box::new(end.admit(&proven).expect("of this connection")));
        self.settle();
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        match &mut self.end {
            End::Connection(connection) => connection,
            _ => panic!("there is a connection"),
        }
    }

    /// Begins a key exchange.
    pub(crate) fn rekey(&mut self) {
        self.transport.begin_exchange();
    }

    /// Says something that has to end the connection: nothing is told, the end says why, and nothing more is taken.
    pub(crate) fn refused(&mut self, message: &[u8]) -> String {
        self.say(message);
        let packet = self.take_said();
        self.refuses(&packet)
    }

    /// The same for bytes.
    pub(crate) fn refuses(&mut self, bytes: &[u8]) -> String {
        let error = self.deliver_bytes(bytes).expect_err("it is refused");
        let Error::Violation(violation) = &error else { panic!("{error:?}") };
        assert!(self.told().is_none(), "nobody is told of what is refused");
        let again = self.deliver_bytes(bytes);
        assert_eq!(again, Err(error.clone()), "nothing is taken after the end");
        assert!(self.told().is_none());
        self.overhear();
        // What does not speak SSH is told in a line.
        if self.said.ends_with(b"Invalid SSH identification string.\r\n") {
            return violation.text.to_string();
        }
        self.listen();
        let Some(Error::Disconnected { code, text }) = &self.goodbye else {
            panic!("no goodbye for {violation:?}, but {:?}", self.goodbye);
        };
        assert_eq!((*code, text.as_str()), (violation.code as u32, &*violation.text));
        text.clone()
    }
}
