//! The key exchange as a state machine (RFC 4253, sections 7 and 8; RFC 5656, section 4; strict key exchange as in
//! OpenSSH's PROTOCOL, section 1.10).
//!
//! ```text
//! Idle -> Begun -+- server: AwaitInit --> AwaitSignature -+-> AwaitNewKeys -> Idle
//!                +- client: AwaitReply -> AwaitTrust -----+
//! ```
//! Our messages of other layers wait from `Begun` until our `NEWKEYS` is out; the peer's are refused from its `KEXINIT`
//! until its `NEWKEYS`.

use super::wish::{HostKeyShown, ToSign, Wish};
use super::{Session, Transport};
use crate::algorithms::KeyAlgorithm;
use crate::cipher::{Opening, Sealing};
use crate::error::{Error, Violation};
use crate::exchange::{ExchangeError, ExchangeRecord, Shared, Started, derive, respond};
use crate::keys::PublicKey;
use crate::message::{Disconnect, EXT_INFO, KEX_INIT, KEX_REPLY, NEWKEYS};
use crate::negotiation::{Negotiated, Signals, agree, kexinit};
use crate::role::Role;
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

pub(super) enum Exchange {
    /// Keys are in use and nobody wants others.
    Idle,
    /// Our `KEXINIT` is out.
    Begun { ours: Vec<u8> },
    /// A server waits for the client's half.
    AwaitInit(Agreed),
    /// A client waits for the server's half.
    AwaitReply(Agreed, Box<Started>),
    /// A server waits for its own signature.
    AwaitSignature(Box<Made>),
    /// A client waits to hear whether the host key is trusted.
    AwaitTrust(Box<Made>),
    /// Our new keys are in use, the peer's not yet.
    AwaitNewKeys { opening: Box<Opening>, strict: bool },
}

/// Both sides have said what they can do.
pub(super) struct Agreed {
    ours: Vec<u8>,
    theirs: Vec<u8>,
    negotiated: Negotiated,
    signals: Signals,
}

/// The secret is there.
pub(super) struct Made {
    negotiated: Negotiated,
    signals: Signals,
    host_key: Vec<u8>,
    /// The server's half.
    reply: Vec<u8>,
    shared: Shared,
    hash: Vec<u8>,
}

impl Exchange {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Whether our messages of other layers may go out.
    pub(super) fn sends(&self) -> bool {
        matches!(self, Self::Idle | Self::AwaitNewKeys { .. })
    }

    /// Whether the peer may send messages of other layers.
    pub(super) fn receives(&self) -> bool {
        matches!(self, Self::Idle | Self::Begun { .. })
    }

    pub(super) fn waits_for_answer(&self) -> bool {
        matches!(self, Self::AwaitSignature(_) | Self::AwaitTrust(_))
    }

    /// Whether both sides know that nothing may come between.
    pub(super) fn is_strict(&self) -> bool {
        match self {
            Self::Idle | Self::Begun { .. } => false,
            Self::AwaitInit(agreed) | Self::AwaitReply(agreed, _) => agreed.negotiated.strict,
            Self::AwaitSignature(made) | Self::AwaitTrust(made) => made.negotiated.strict,
            Self::AwaitNewKeys { strict, .. } => *strict,
        }
    }

    /// Whether this packet is the peer's wrong guess, which is thrown away; there is one at most.
    pub(super) fn takes_guess(&mut self) -> bool {
        match self {
            Self::AwaitInit(agreed) | Self::AwaitReply(agreed, _) => {
                std::mem::take(&mut agreed.signals.skip_guess)
            }
            _ => false,
        }
    }
}

impl Transport {
    /// Our `KEXINIT` goes out; from now on other messages of ours wait.
    pub(super) fn begin_exchange(&mut self) {
        let algorithms: Vec<KeyAlgorithm> = match &self.session {
            // The host key stays the same for the life of a connection.
            Some(session) => vec![session.negotiated.host_key],
            None => self.host_keys.iter().map(|host_key| host_key.algorithm).collect(),
        };
        let ours = kexinit(self.role, &self.settings.offer, &algorithms, self.session.is_none());
        self.outgoing.send(|message| message.put_slice(&ours));
        self.exchange = Exchange::Begun { ours };
        self.since = None;
    }

    pub(super) fn peer_kexinit(&mut self, theirs: &[u8]) -> Result<(), Violation> {
        if self.exchange.is_idle() {
            if !self.authenticated {
                return Err(Violation::new("fresh keys are wanted before authentication has finished"));
            }
            self.begin_exchange();
        }
        let Exchange::Begun { ours } = std::mem::replace(&mut self.exchange, Exchange::Idle) else {
            return Err(Violation::new("a second KEXINIT in one key exchange"));
        };
        let before = self.session.as_ref().map(|session| session.negotiated.strict);
        let (negotiated, signals) = agree(self.role, &ours, theirs, before)?;
        if before.is_none() && negotiated.strict && self.incoming.sequence() != 1 {
            return Err(Violation::new("something came before the first KEXINIT of a strict key exchange"));
        }
        let held = self.session.as_ref().is_some_and(|session| session.negotiated.is_post_quantum());
        if held && !negotiated.is_post_quantum() {
            // Who looked at the first exchange must be able to rely on it.
            return Err(Violation::exchange("fresh keys would not be post-quantum, as the first were"));
        }
        let agreed = Agreed { ours, theirs: theirs.to_vec(), negotiated, signals };
        self.exchange = match self.role {
            Role::Server => Exchange::AwaitInit(agreed),
            Role::Client => {
                let started = Started::new(negotiated.key_exchange).map_err(failed)?;
                self.outgoing.send(|message| {
                    message.put_u8(KEX_INIT);
                    message.put_string(started.init());
                });
                Exchange::AwaitReply(agreed, Box::new(started))
            }
        };
        Ok(())
    }

    pub(super) fn exchange_message(&mut self, message: &[u8]) -> Result<(), Violation> {
        let mut reader = Reader::new(&message[1..]);
        match (message[0], std::mem::replace(&mut self.exchange, Exchange::Idle)) {
            (KEX_INIT, Exchange::AwaitInit(agreed)) => {
                let init = reader.string()?;
                reader.end()?;
                self.respond(agreed, init)
            }
            (KEX_REPLY, Exchange::AwaitReply(agreed, started)) => {
                let (host_key, reply, signature) = (reader.string()?, reader.string()?, reader.string()?);
                reader.end()?;
                self.finish(agreed, *started, host_key, reply, signature)
            }
            (NEWKEYS, Exchange::AwaitNewKeys { opening, strict }) => {
                reader.end()?;
                self.incoming.rekey(*opening, strict);
                self.since = None;
                Ok(())
            }
            (number, _) => Err(Violation::new(format!("message {number} is not expected here"))),
        }
    }

    /// A server's half.
    fn respond(&mut self, agreed: Agreed, init: &[u8]) -> Result<(), Violation> {
        let algorithm = agreed.negotiated.host_key;
        let shown = self.host_keys.iter().find(|host_key| host_key.algorithm == algorithm);
        let host_key = shown.map(|shown| shown.blob.clone()).ok_or_else(no_host_key)?;
        let (reply, shared) = respond(agreed.negotiated.key_exchange, init).map_err(failed)?;
        let (made, record) = self.made(agreed, host_key, [init, &reply], shared);
        let exchange = Some(Box::new(record));
        self.wish = Some(Wish::Sign(ToSign { algorithm, data: made.hash.clone(), exchange }));
        self.exchange = Exchange::AwaitSignature(Box::new(Made { reply, ..made }));
        Ok(())
    }

    /// A client's second half.
    fn finish(
        &mut self,
        agreed: Agreed,
        started: Started,
        host_key: &[u8],
        reply: &[u8],
        signature: &[u8],
    ) -> Result<(), Violation> {
        let algorithm = agreed.negotiated.host_key;
        let init = started.init().to_vec();
        let shared = started.finish(reply).map_err(failed)?;
        let (made, _) = self.made(agreed, host_key.to_vec(), [&init, reply], shared);
        let key = PublicKey::of(algorithm, host_key);
        key.and_then(|key| key.verify(algorithm.scheme, &made.hash, signature)).map_err(|error| {
            Violation::exchange(format!("the host key did not sign this key exchange: {error}"))
        })?;
        match &self.session {
            None => {
                let shown = HostKeyShown { algorithm, blob: host_key.to_vec() };
                self.wish = Some(Wish::Trust(shown));
                self.exchange = Exchange::AwaitTrust(Box::new(made));
                Ok(())
            }
            Some(session) if session.host_key == host_key => self.new_keys(made),
            Some(_) => {
                let text = "the host key changed during the connection";
                Err(Violation::coded(Disconnect::HostKeyNotVerifiable, text))
            }
        }
    }

    /// The exchange hash (RFC 4253, section 8; RFC 5656, section 4).
    fn made(
        &self,
        agreed: Agreed,
        host_key: Vec<u8>,
        halves: [&[u8]; 2],
        shared: Shared,
    ) -> (Made, ExchangeRecord) {
        let Agreed { ours, theirs, negotiated, signals } = agreed;
        let own = self.own_identification();
        let peer = self.identification.as_deref().unwrap_or_default();
        let (client, server) = match self.role {
            Role::Client => ((own.as_bytes(), &ours), (peer, &theirs)),
            Role::Server => ((peer, &theirs), (own.as_bytes(), &ours)),
        };
        let strings = [client.0, server.0, client.1, server.1, &host_key, halves[0], halves[1]];
        let is_first = self.session.is_none();
        let record = ExchangeRecord::new(negotiated.key_exchange, is_first, strings, &shared);
        let hash = record.hash();
        (Made { negotiated, signals, host_key, reply: Vec::new(), shared, hash }, record)
    }

    /// The answer to [`Wish::Sign`].
    pub(crate) fn signed(&mut self, signature: &[u8]) -> Result<(), Error> {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::AwaitSignature(_) if self.over.is_some() => Ok(()),
            Exchange::AwaitSignature(made) => {
                self.outgoing.send(|message| {
                    message.put_u8(KEX_REPLY);
                    message.put_string(&made.host_key);
                    message.put_string(&made.reply);
                    message.put_string(signature);
                });
                self.new_keys(*made).map_err(|violation| self.fail(violation))
            }
            other => {
                self.exchange = other;
                Ok(())
            }
        }
    }

    /// The answer to [`Wish::Trust`]: yes. A no is a disconnect.
    pub(crate) fn trust(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::AwaitTrust(_) if self.over.is_some() => Ok(()),
            Exchange::AwaitTrust(made) => self.new_keys(*made).map_err(|violation| self.fail(violation)),
            other => {
                self.exchange = other;
                Ok(())
            }
        }
    }

    /// Our `NEWKEYS`; the new keys are in use for what we send from here on (RFC 4253, sections 7.2 and 7.3).
    fn new_keys(&mut self, made: Made) -> Result<(), Violation> {
        let Made { negotiated, signals, host_key, shared, hash, .. } = made;
        negotiated.check()?;
        let Negotiated { client_to_server, server_to_client, strict, .. } = negotiated;
        let is_first = self.session.is_none();
        let session = self.session.get_or_insert(Session { id: hash.clone(), negotiated, host_key });
        session.negotiated = negotiated;
        let function = negotiated.key_exchange.hash();
        let secret = |letter, length| derive(function, &shared, &hash, letter, &session.id, length);
        let keys = |cipher: crate::algorithms::Cipher, iv, key| {
            (secret(iv, cipher.iv_length()), secret(key, cipher.key_length()))
        };
        let up = keys(client_to_server, b'A', b'C');
        let down = keys(server_to_client, b'B', b'D');
        let ((sends, (iv_out, key_out)), (receives, (iv_in, key_in))) = match self.role {
            Role::Client => ((client_to_server, up), (server_to_client, down)),
            Role::Server => ((server_to_client, down), (client_to_server, up)),
        };
        self.outgoing.send(|message| message.put_u8(NEWKEYS));
        self.outgoing.rekey(Sealing::new(sends, &key_out, &iv_out), sends, strict);
        let opening = Box::new(Opening::new(receives, &key_in, &iv_in));
        self.exchange = Exchange::AwaitNewKeys { opening, strict };
        if is_first && signals.ext_info {
            self.send_extensions();
        }
        self.send_held();
        Ok(())
    }

    /// RFC 8308: the first message under the first keys.
    fn send_extensions(&mut self) {
        self.outgoing.send(write_extensions);
    }
}

/// What a server says of itself (RFC 8308, section 3.1; OpenSSH's PROTOCOL, sections 1.9 and 1.10).
pub(crate) fn write_extensions(message: &mut Vec<u8>) {
    message.put_u8(EXT_INFO);
    message.put_u32(3);
    message.put_string(b"server-sig-algs");
    message.put_names(KeyAlgorithm::ALL.iter().map(|algorithm| algorithm.name()));
    for name in ["publickey-hostbound@openssh.com", "ping@openssh.com"] {
        message.put_string(name.as_bytes());
        message.put_string(b"0");
    }
}

fn failed(error: ExchangeError) -> Violation {
    Violation::exchange(format!("the key exchange failed: {error}"))
}

fn no_host_key() -> Violation {
    Violation::exchange("there is no host key for the algorithm agreed on")
}
