//! An end before authentication whose peer is the fuzzer: a stream of any bytes, or messages in plain where the first
//! key exchange would be over.

use std::cell::RefCell;
use std::rc::Rc;

use ssh::connection::Limits;
use ssh::keys::PublicKey;
use ssh::{Error, Role, Settings, client, fuzzing, server};

use crate::input::Input;
use crate::keys;
use crate::ledger::Ledger;
use crate::wire::Message;

enum End {
    Server(Box<server::Handshake>),
    Client(Box<client::Handshake>),
}

/// Any bytes from the first one. What comes of them does not depend on the pieces in which they arrive.
pub fn stream(role: Role, data: &[u8]) {
    let whole = feed(role, data, data.len().max(1));
    for piece in [1, 7] {
        assert_eq!(feed(role, data, piece), whole, "in pieces of {piece}");
    }
}

fn feed(role: Role, data: &[u8], piece: usize) -> (Result<(), Error>, usize) {
    let ledger = Ledger::watch(role, None);
    let mut end = match role {
        Role::Server => {
            let config = keys::server_config(Settings::default(), Limits::default());
            End::Server(Box::new(server::Handshake::new(config)))
        }
        Role::Client => {
            let config = keys::client_config(Settings::default(), Limits::default());
            End::Client(Box::new(client::Handshake::new(config)))
        }
    };
    let (mut pending, mut taken) = (Vec::new(), 0);
    for bytes in data.chunks(piece) {
        pending.extend_from_slice(bytes);
        match end.take_all(&mut pending, &ledger) {
            Ok(count) => taken += count,
            // How much of the input an error took is not said.
            Err(error) => return (Err(error), 0),
        }
    }
    (Ok(()), taken)
}

/// Messages in plain, after the first key exchange.
pub fn messages(role: Role, data: &[u8]) {
    let input = Input::new(data);
    let ledger = Ledger::watch(role, None);
    let mut end = match role {
        Role::Server => {
            let config = keys::server_config(Settings::default(), Limits::default());
            End::Server(Box::new(server::Handshake::in_the_clear(config)))
        }
        Role::Client => {
            let config = keys::client_config(Settings::default(), Limits::default());
            End::Client(Box::new(client::Handshake::in_the_clear(config)))
        }
    };
    let mut pending = Vec::new();
    while !input.is_empty() {
        let message = match role {
            Role::Server => for_server(&input),
            Role::Client => for_client(&input),
        };
        if message.is_empty() || message.len() > 34_000 {
            continue;
        }
        pending.extend_from_slice(&fuzzing::packet(&message));
        if end.take_all(&mut pending, &ledger).is_err() {
            return;
        }
    }
}

impl End {
    /// Takes what there is, answering events, until nothing is taken any more.
    fn take_all(&mut self, pending: &mut Vec<u8>, ledger: &Rc<RefCell<Ledger>>) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let took = match self {
                Self::Server(end) => end.receive(pending),
                Self::Client(end) => end.receive(pending),
            };
            let answered = took.and_then(|count| {
                pending.drain(..count);
                taken += count;
                Ok((self.answer()?, count))
            });
            match answered {
                Err(error) => {
                    ledger.borrow().ended(&error);
                    return Err(error);
                }
                Ok((false, 0)) => {
                    ledger.borrow().goes_on();
                    return Ok(taken);
                }
                Ok(_) => {}
            }
        }
    }

    fn answer(&mut self) -> Result<bool, Error> {
        match self {
            Self::Server(end) => match end.event() {
                None => return Ok(false),
                Some(server::Event::Tried(_)) => {}
                Some(server::Event::Sign(to_sign)) => {
                    let signature = keys::HOST.sign(to_sign.algorithm.scheme, &to_sign.data);
                    end.signed(&signature.expect("signs"))?;
                }
                Some(server::Event::Proof(proof)) => {
                    if let Ok(proven) = proof.verify() {
                        let key = PublicKey::of(keys::CERTIFICATE, proven.blob());
                        assert_eq!(key.as_ref(), Ok(keys::USER.public()), "somebody else has signed");
                    }
                    end.refuse()?;
                }
            },
            Self::Client(end) => match end.event() {
                None => return Ok(false),
                Some(client::Event::Banner(_)) => {}
                Some(client::Event::Host(shown)) => panic!("nobody has signed for {shown:?}"),
                Some(client::Event::Sign(_)) => panic!("nobody is trusted"),
                Some(client::Event::Accepted | client::Event::Refused) => {
                    return Err(end.end("seen"));
                }
            },
        }
        Ok(true)
    }
}

fn for_server(input: &Input) -> Vec<u8> {
    let message = match input.below(8) {
        0 => Message(input.bytes()),
        1 => Message::new(5).string(b"ssh-userauth"),
        2 => Message::new(5).string(&input.bytes()),
        3 => {
            let name = [&b"none"[..], b"password", b"keyboard-interactive", b"gssapi-with-mic"];
            let name = name[input.below(name.len())];
            Message::new(50).string(&login(input)).string(b"ssh-connection").string(name).raw(&input.bytes())
        }
        4..=6 => public_key(input),
        _ => Message::new(input.byte() % 8).raw(&input.bytes()),
    };
    message.0
}

fn login(input: &Input) -> Vec<u8> {
    if input.byte() < 200 { keys::LOGIN.as_bytes().to_vec() } else { input.bytes() }
}

/// A question or a proof, right but for what the script changes.
fn public_key(input: &Input) -> Message {
    let choices = input.byte();
    let method = if choices & 1 == 0 { "publickey" } else { "publickey-hostbound-v00@openssh.com" };
    let request = Message::new(50).string(&login(input)).string(b"ssh-connection").string(method.as_bytes());
    let request = request.byte(choices >> 1 & 1);
    let mut blob = keys::USER_BLOB.clone();
    if choices & 4 != 0 {
        let place = input.below(blob.len());
        blob[place] ^= input.byte();
    }
    let algorithm =
        if choices & 8 == 0 { keys::CERTIFICATE.name().as_bytes().to_vec() } else { input.bytes() };
    let request = request.string(&algorithm).string(&blob);
    let request = match (choices & 1, choices & 16) {
        (0, _) => request,
        (_, 0) => request.string(&keys::HOST.public().blob()),
        _ => request.string(&input.bytes()),
    };
    if choices & 2 == 0 {
        return request;
    }
    // The session of an end in the clear.
    let signed = Message(Vec::new()).string(&[7; 32]).raw(&request.0).0;
    let key = if choices & 32 == 0 { &keys::USER } else { &keys::STRANGER };
    request.string(&key.sign(keys::CERTIFICATE.scheme, &signed).expect("signs"))
}

fn for_client(input: &Input) -> Vec<u8> {
    let message = match input.below(8) {
        0 => Message(input.bytes()),
        1 => Message::new(6).string(b"ssh-userauth"),
        2 => Message::new(53).string(&input.bytes()).string(b""),
        3 => Message::new(52).raw(&input.bytes()),
        4 => Message::new(51).string(&input.bytes()).byte(input.byte()).raw(&input.bytes()),
        5 => {
            let message = Message::new(7).number(2).string(b"server-sig-algs").string(&input.bytes());
            message.string(b"ping@openssh.com").string(b"0").raw(&input.bytes())
        }
        6 => Message::new(60).string(&input.bytes()),
        _ => Message::new(input.byte()).raw(&input.bytes()),
    };
    message.0
}
