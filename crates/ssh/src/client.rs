//! A client before authentication: the host first, then us, with one key and one signature.
//!
//! The request goes out together with the wish for the service, so that authentication costs one round trip.

#[cfg(fuzzing)]
mod fuzzing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithms::KeyAlgorithm;
use crate::connection::{Connection, Limits};
use crate::error::{Error, Violation, plain};
use crate::message::{
    Disconnect, SERVICE_ACCEPT, SERVICE_REQUEST, USERAUTH_BANNER, USERAUTH_FAILURE, USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
};
use crate::negotiation::Negotiated;
use crate::role::Role;
use crate::transport::{
    HostKey, HostKeyShown, Layer, MAX_ANSWERS, Settings, ToSign, Transport, Wish, receive,
};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

/// Words that a server may say before it decides.
const MAX_BANNERS: u32 = 16;

/// How a client comes in.
#[derive(Debug, Clone)]
pub struct Config {
    /// What both roles need to know.
    pub settings: Arc<Settings>,
    /// Which host keys are taken, most preferred first.
    pub host_keys: Vec<KeyAlgorithm>,
    /// The account wanted.
    pub login: String,
    /// How our key signs, and whether `blob` is a certificate.
    pub algorithm: KeyAlgorithm,
    /// Our key or certificate as on the wire.
    pub blob: Vec<u8>,
    /// For the connection that follows.
    pub limits: Limits,
}

/// A connection on its way to authentication.
pub struct Handshake {
    transport: Transport,
    config: Arc<Config>,
    stage: Stage,
    banners: u32,
    events: VecDeque<Event>,
}

enum Stage {
    /// The host is not trusted yet.
    Host,
    /// Our key has to sign this request.
    Signing(Vec<u8>),
    /// Everything is said; whether the service is granted is known.
    Asked { service: bool },
    /// The server said yes.
    Accepted,
    /// Or no.
    Refused,
}

/// What the handshake needs or tells.
#[derive(Debug)]
pub enum Event {
    /// Is this the right server? See [`Handshake::trust`] and [`Handshake::distrust`].
    Host(HostKeyShown),
    /// Our key has to sign; see [`Handshake::signed`].
    Sign(ToSign),
    /// Words of the server for the user, made fit for a terminal.
    Banner(String),
    /// We are in: [`Handshake::connection`].
    Accepted,
    /// We are not, and there is nothing else to try.
    Refused,
}

impl Handshake {
    /// Begins on a fresh stream.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let host_keys =
            config.host_keys.iter().map(|algorithm| HostKey { algorithm: *algorithm, blob: Vec::new() });
        let transport = Transport::new(Role::Client, Arc::clone(&config.settings), host_keys.collect());
        Self { transport, config, stage: Stage::Host, banners: 0, events: VecDeque::new() }
    }

    /// Takes in what arrived and says how many bytes it took; the rest has to be shown again, with what follows it. What
    /// is taken is overwritten.
    pub fn receive(&mut self, input: &mut [u8]) -> Result<usize, Error> {
        receive(self, input)
    }

    /// Whether an event has to be answered, or the output taken, before more input is taken.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.transport.waits_for_answer()
            || self.transport.output() >= MAX_ANSWERS
            || matches!(self.stage, Stage::Signing(_) | Stage::Accepted | Stage::Refused)
    }

    /// The next event.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Exchanges what is to be sent for `empty`, whose room is used from now on.
    pub fn take_output(&mut self, empty: &mut Vec<u8>) {
        self.transport.take_output(empty);
    }

    /// Time passes; `now` counts from the beginning of the connection.
    pub fn tick(&mut self, now: Duration) -> Result<(), Error> {
        self.transport.tick(now)
    }

    /// What both sides agreed on, once they have.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.transport.session().map(|session| session.negotiated)
    }

    /// The answer to [`Event::Host`]: it is. Nothing about us was said before.
    pub fn trust(&mut self) -> Result<(), Error> {
        if !matches!(self.stage, Stage::Host) || !self.transport.waits_for_answer() {
            return Ok(());
        }
        self.transport.trust()?;
        let session_id = self.transport.session().map(|session| session.id.clone()).unwrap_or_default();
        let Config { login, algorithm, blob, .. } = &*self.config;
        let mut request = vec![USERAUTH_REQUEST];
        request.put_string(login.as_bytes());
        request.put_string(b"ssh-connection");
        request.put_string(b"publickey");
        request.put_boolean(true);
        request.put_string(algorithm.name().as_bytes());
        request.put_string(blob);
        let mut data = Vec::with_capacity(request.len() + session_id.len() + 4);
        data.put_string(&session_id);
        data.put_slice(&request);
        self.stage = Stage::Signing(request);
        self.events.push_back(Event::Sign(ToSign { algorithm: *algorithm, data, exchange: None }));
        Ok(())
    }

    /// The other answer: it is not. The server learns that, and no more.
    pub fn distrust(&mut self, text: &str) -> Error {
        self.transport.disconnect(Disconnect::HostKeyNotVerifiable, "the host key is not trusted");
        Error::Ended(text.to_owned())
    }

    /// The answer to [`Event::Sign`]: a signature blob.
    pub fn signed(&mut self, signature: &[u8]) {
        if let Stage::Signing(request) = std::mem::replace(&mut self.stage, Stage::Asked { service: false }) {
            self.transport.send(|message| {
                message.put_u8(SERVICE_REQUEST);
                message.put_string(b"ssh-userauth");
            });
            self.transport.send(|message| {
                message.put_slice(&request);
                message.put_string(signature);
            });
        }
    }

    /// The connection that [`Event::Accepted`] announced.
    pub fn connection(mut self) -> Result<Connection, Error> {
        if !matches!(self.stage, Stage::Accepted) {
            return Err(self.end("the server has not accepted us"));
        }
        self.transport.authenticated();
        Ok(Connection::new(self.transport, self.config.limits))
    }

    /// Ends the connection.
    pub fn end(&mut self, text: &str) -> Error {
        self.transport.disconnect(Disconnect::ByApplication, text);
        Error::Ended(text.to_owned())
    }
}

impl Layer for Handshake {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn holds_back(&self) -> bool {
        self.is_waiting()
    }

    fn message(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        match (message[0], &mut self.stage) {
            (SERVICE_ACCEPT, Stage::Asked { service }) if !*service => {
                if reader.string()? != b"ssh-userauth" {
                    return Err(Violation::new("another service was granted than we asked for"));
                }
                *service = true;
                Ok(reader.end()?)
            }
            (USERAUTH_BANNER, Stage::Asked { service: true }) if self.banners < MAX_BANNERS => {
                self.banners += 1;
                self.events.push_back(Event::Banner(plain(reader.string()?)));
                Ok(())
            }
            (USERAUTH_SUCCESS, Stage::Asked { service: true }) => {
                reader.end()?;
                self.stage = Stage::Accepted;
                self.events.push_back(Event::Accepted);
                Ok(())
            }
            // A partial success asks for a second factor, which we do not have.
            (USERAUTH_FAILURE, Stage::Asked { service: true }) => {
                reader.names()?;
                reader.boolean()?;
                reader.end()?;
                self.stage = Stage::Refused;
                self.events.push_back(Event::Refused);
                Ok(())
            }
            (number, _) => {
                Err(Violation::new(format!("message {number} is not expected before authentication")))
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        if let Wish::Trust(shown) = wish {
            self.events.push_back(Event::Host(shown));
        }
    }
}
