//! A server before authentication (RFC 4252): public keys in certificates, and nothing else.
//!
//! Here is no channel and no request: those belong to [`Connection`], and there is no way to one but
//! [`Handshake::admit`] with a [`Proven`] certificate.

#[cfg(fuzzing)]
mod fuzzing;
mod proof;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use proof::{Claim, Proof, Proven};

use crate::connection::{Connection, Limits};
use crate::error::{Error, Violation};
use crate::message::{
    Disconnect, SERVICE_ACCEPT, SERVICE_REQUEST, USERAUTH_FAILURE, USERAUTH_PK_OK, USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
};
use crate::negotiation::Negotiated;
use crate::role::Role;
use crate::transport::{HostKey, Layer, MAX_ANSWERS, Settings, ToSign, Transport, Wish, receive};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;
use request::{Method, PublicKeyRequest, Request};

/// No account has a longer name, so nobody is asked about one.
const MAX_LOGIN: usize = 256;
/// Failed attempts before the connection ends. Clients with a full agent need some; each costs them a round trip.
const MAX_FAILURES: u32 = 20;
/// Questions whether a certificate would do, all of which are answered yes.
const MAX_QUESTIONS: u32 = 64;

/// How a server greets.
#[derive(Debug, Clone)]
pub struct Config {
    /// What both roles need to know.
    pub settings: Arc<Settings>,
    /// What can be shown, most preferred first.
    pub host_keys: Vec<HostKey>,
    /// Plain host keys that the client is told about once it is in (`hostkeys-00@openssh.com`), so that it can keep
    /// them. None where clients know hosts by a certificate authority.
    pub announced: Vec<HostKey>,
    /// For the connection that follows.
    pub limits: Limits,
}

/// A connection on its way to authentication.
pub struct Handshake {
    transport: Transport,
    config: Arc<Config>,
    stage: Stage,
    failures: u32,
    questions: u32,
    events: VecDeque<Event>,
}

enum Stage {
    /// The client has to ask for the service first.
    Service,
    /// It may try; with the login of the first attempt, which stays.
    Open(Option<String>),
    /// Its attempt of this number is being judged.
    Judging(String),
}

/// What the handshake needs or tells.
#[derive(Debug)]
pub enum Event {
    /// The host key has to sign; see [`Handshake::signed`].
    Sign(ToSign),
    /// A client proves that it has a certificate's key. Nothing goes on before [`Handshake::admit`],
    /// [`Handshake::refuse`] or [`Handshake::expel`].
    Proof(Box<Proof>),
    /// It tried something that is refused without asking.
    Tried(Tried),
}

/// An attempt that was refused without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The account that is wanted.
    pub login: String,
    /// With what.
    pub method: TriedMethod,
}

/// How a client tried to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriedMethod {
    /// `none`, which asks for the methods.
    None,
    /// A key without a certificate.
    PlainKey,
    /// A key, certificate or algorithm that is not taken.
    UnusableKey,
    /// `password` or `keyboard-interactive`.
    Password,
    /// Something else.
    Other,
}

impl Handshake {
    /// Begins on a fresh stream.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let transport = Transport::new(Role::Server, Arc::clone(&config.settings), config.host_keys.clone());
        let stage = Stage::Service;
        Self { transport, config, stage, failures: 0, questions: 0, events: VecDeque::new() }
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
            || matches!(self.stage, Stage::Judging(_))
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

    /// The answer to [`Event::Sign`]: a signature blob.
    pub fn signed(&mut self, signature: &[u8]) -> Result<(), Error> {
        self.transport.signed(signature)
    }

    /// What both sides agreed on, once they have.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.transport.session().map(|session| session.negotiated)
    }

    /// The client is in.
    pub fn admit(mut self, proven: &Proven) -> Result<Connection, Error> {
        let session = self.transport.session().map(|session| session.id.as_slice());
        let judging = matches!(&self.stage, Stage::Judging(login) if login == proven.login());
        if !judging || session != Some(proven.session_id()) {
            return Err(self.expel("the proof belongs to another connection"));
        }
        self.transport.send(|message| message.put_u8(USERAUTH_SUCCESS));
        self.transport.authenticated();
        let mut connection = Connection::new(self.transport, self.config.limits);
        connection.announce(&self.config.announced);
        Ok(connection)
    }

    /// This certificate did not do; the client may try another.
    pub fn refuse(&mut self) -> Result<(), Error> {
        if let Stage::Judging(login) = &mut self.stage {
            self.stage = Stage::Open(Some(std::mem::take(login)));
            self.failure().map_err(|violation| self.transport.fail(violation))?;
        }
        Ok(())
    }

    /// Ends the connection with words for the client.
    pub fn expel(&mut self, text: &str) -> Error {
        self.transport.disconnect(Disconnect::NoMoreAuthMethods, text);
        Error::Ended(text.to_owned())
    }

    /// RFC 4253, section 10
    fn service(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        let name = reader.string()?;
        reader.end()?;
        if name != b"ssh-userauth" {
            let text = "the first service has to be ssh-userauth";
            return Err(Violation::coded(Disconnect::ServiceNotAvailable, text));
        }
        self.stage = Stage::Open(None);
        self.transport.send(|message| {
            message.put_u8(SERVICE_ACCEPT);
            message.put_string(name);
        });
        Ok(())
    }

    /// RFC 4252, section 5
    fn request(&mut self, message: &[u8]) -> Result<(), Violation> {
        let Request { login, method } = Request::read(message)?;
        if login.len() > MAX_LOGIN {
            return Err(Violation::new("the user name is too long"));
        }
        if let Stage::Open(first) = &mut self.stage
            && first.get_or_insert_with(|| login.to_owned()) != login
        {
            return Err(Violation::new("the user name changed during authentication"));
        }
        let method = match method {
            Method::PublicKey(request) => match self.public_key(login, message, request)? {
                None => return Ok(()),
                Some(method) => method,
            },
            Method::Refused(method) => method,
        };
        self.events.push_back(Event::Tried(Tried { login: login.to_owned(), method }));
        self.failure()
    }

    /// RFC 4252, section 7. Gives why it is refused, if it is.
    fn public_key(
        &mut self,
        login: &str,
        message: &[u8],
        request: PublicKeyRequest<'_>,
    ) -> Result<Option<TriedMethod>, Violation> {
        let session = self.transport.session().expect("nobody gets here before the first key exchange");
        if request.host_key.is_some_and(|host_key| host_key != session.host_key) {
            return Err(Violation::new("the request is bound to another host key"));
        }
        let algorithm = match request.usable() {
            Ok(algorithm) => algorithm,
            Err(method) => return Ok(Some(method)),
        };
        match request.signature {
            None => {
                self.questions += 1;
                if self.questions > MAX_QUESTIONS {
                    return Err(too_many());
                }
                self.transport.send(|answer| {
                    answer.put_u8(USERAUTH_PK_OK);
                    answer.put_string(request.algorithm);
                    answer.put_string(request.blob);
                });
            }
            Some(signature) => {
                let signed = &message[..message.len() - request.signature_length];
                let bound = request.host_key.is_some();
                let proof = Proof::new(login, algorithm, request.blob, &session.id, bound, signed, signature);
                self.stage = Stage::Judging(login.to_owned());
                self.events.push_back(Event::Proof(Box::new(proof)));
            }
        }
        Ok(None)
    }

    fn failure(&mut self) -> Result<(), Violation> {
        self.failures += 1;
        if self.failures > MAX_FAILURES {
            return Err(too_many());
        }
        self.transport.send(|message| {
            message.put_u8(USERAUTH_FAILURE);
            message.put_names(["publickey"]);
            message.put_boolean(false);
        });
        Ok(())
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
        match (message[0], &self.stage) {
            (SERVICE_REQUEST, Stage::Service) => self.service(message),
            (USERAUTH_REQUEST, Stage::Open(_)) => self.request(message),
            (number, _) => {
                Err(Violation::new(format!("message {number} is not expected before authentication")))
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        if let Wish::Sign(to_sign) = wish {
            self.events.push_back(Event::Sign(to_sign));
        }
    }
}

fn too_many() -> Violation {
    Violation::coded(Disconnect::NoMoreAuthMethods, "too many attempts to authenticate")
}
