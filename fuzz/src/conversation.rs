//! Two ends of the engine: the one under test, and a peer whose messages are tampered with. From the first byte over
//! authentication into the connection, with fresh keys under way.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ssh::algorithms::{Cipher, KeyExchange};
use ssh::connection::{Connection, Limits};
use ssh::{Error, Offer, Rekey, Role, Settings, client, server};

use crate::actions::Book;
use crate::input::Input;
use crate::keys;
use crate::ledger::Ledger;
use crate::tampering::{self, Opening};

const ROUNDS: usize = 512;
const LIMITS: Limits =
    Limits { channels: 4, window: 8192, max_window: 32 << 10, growth: 64 << 10, output: 16 << 10 };

enum Stage {
    Server(Box<server::Handshake>),
    Client(Box<client::Handshake>),
    Connected(Box<Connection>),
    Over,
}

struct End {
    role: Role,
    stage: Stage,
    book: Book,
    /// What came from the other end and was not taken.
    pending: Vec<u8>,
    /// Of the end under test.
    ledger: Option<Rc<RefCell<Ledger>>>,
    error: Option<Error>,
    /// What it said at the end.
    words: Vec<u8>,
}

/// Runs one script with the end of this role under test.
pub fn run(role: Role, data: &[u8]) {
    let input = Input::new(data);
    let settings = settings(&input);
    let ledger = Ledger::watch(role, None);
    let mut tested = End::new(role, settings.clone(), Some(Rc::clone(&ledger)));
    let opening = tampering::prepare(&input);
    let other = if role == Role::Server { Role::Client } else { Role::Server };
    let mut peer = End::new(other, settings, None);
    let (mut now, mut still) = (Duration::ZERO, 0);
    for _ in 0..ROUNDS {
        let moved =
            peer.send(&mut tested) | tested.receive(&input) | tested.send(&mut peer) | peer.receive(&input);
        check(&tested, &opening);
        let acted = act(&mut peer, &input) | act(&mut tested, &input);
        if !input.is_empty() {
            now += Duration::from_secs(u64::from(input.byte() & 0x3f));
        }
        peer.tick(now);
        tested.tick(now);
        still = if moved || acted { 0 } else { still + 1 };
        if still > 2 && input.is_empty() {
            break;
        }
    }
    match &tested.error {
        Some(error) => ledger.borrow().ended(error),
        None => ledger.borrow().goes_on(),
    }
}

fn settings(input: &Input) -> Settings {
    let key_exchange = match input.byte() {
        // A key of the last one costs as much as a hundred of the first.
        0..192 => KeyExchange::Curve25519,
        192..255 => KeyExchange::MlKem768X25519,
        255 => KeyExchange::Sntrup761X25519,
    };
    let choices = input.byte();
    let cipher = Cipher::ALL[usize::from(choices & 3) % Cipher::ALL.len()];
    let packets = if choices & 4 == 0 { 1 << 28 } else { 8 };
    let rekey = Rekey { packets, ..Rekey::default() };
    let offer = Offer { key_exchange: vec![key_exchange], ciphers: vec![cipher] };
    Settings { offer, rekey, ..Settings::default() }
}

/// What only the opening of a strict key exchange may consist of (OpenSSH's PROTOCOL, section 1.10).
fn check(tested: &End, opening: &RefCell<Opening>) {
    let Stage::Connected(connection) = &tested.stage else { return };
    assert!(connection.unread() <= LIMITS.unread());
    let strict = connection.negotiated().expect("agreed").strict;
    let half = if tested.role == Role::Server { 30 } else { 31 };
    let numbers = &opening.borrow().numbers;
    assert!(!strict || *numbers == [20, half, 21], "{numbers:?} before the first keys");
}

fn act(end: &mut End, input: &Input) -> bool {
    let Stage::Connected(connection) = &mut end.stage else { return false };
    if input.is_empty() {
        return false;
    }
    let acted = end.book.act(end.role, connection, input);
    if let Err(error) = acted {
        end.ends(error);
    }
    true
}

impl End {
    fn new(role: Role, settings: Settings, ledger: Option<Rc<RefCell<Ledger>>>) -> Self {
        let stage = match role {
            Role::Server => {
                Stage::Server(Box::new(server::Handshake::new(keys::server_config(settings, LIMITS))))
            }
            Role::Client => {
                Stage::Client(Box::new(client::Handshake::new(keys::client_config(settings, LIMITS))))
            }
        };
        Self {
            role,
            stage,
            book: Book::default(),
            pending: Vec::new(),
            ledger,
            error: None,
            words: Vec::new(),
        }
    }

    /// Takes what there is to be sent over to the other end.
    fn send(&mut self, to: &mut Self) -> bool {
        let output = self.output();
        to.pending.extend_from_slice(&output);
        !output.is_empty()
    }

    fn receive(&mut self, input: &Input) -> bool {
        let pending = &mut self.pending;
        let taken = match &mut self.stage {
            Stage::Server(handshake) => handshake.receive(pending),
            Stage::Client(handshake) => handshake.receive(pending),
            Stage::Connected(connection) => connection.receive(pending),
            Stage::Over => Ok(0),
        };
        match taken {
            Ok(taken) => {
                self.pending.drain(..taken);
                self.look(input) || taken > 0
            }
            Err(error) => {
                self.ends(error);
                true
            }
        }
    }

    fn tick(&mut self, now: Duration) {
        let ticked = match &mut self.stage {
            Stage::Server(handshake) => handshake.tick(now),
            Stage::Client(handshake) => handshake.tick(now),
            Stage::Connected(connection) => connection.tick(now),
            Stage::Over => Ok(()),
        };
        if let Err(error) = ticked {
            self.ends(error);
        }
    }

    /// Its last words are still sent.
    fn ends(&mut self, error: Error) {
        self.words = self.output();
        self.stage = Stage::Over;
        self.error = Some(error);
    }

    fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        match &mut self.stage {
            Stage::Server(handshake) => handshake.take_output(&mut output),
            Stage::Client(handshake) => handshake.take_output(&mut output),
            Stage::Connected(connection) => connection.take_output(&mut output),
            Stage::Over => output = std::mem::take(&mut self.words),
        }
        output
    }

    /// Looks at events; says whether there was one.
    fn look(&mut self, input: &Input) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Server(handshake) => self.look_as_server(handshake, input),
            Stage::Client(handshake) => self.look_as_client(handshake, input),
            Stage::Connected(mut connection) => {
                self.book.look(&mut connection);
                let signed = self.book.sign(&mut connection);
                self.stage = Stage::Connected(connection);
                if let Err(error) = signed {
                    self.ends(error);
                }
                false
            }
            Stage::Over => false,
        }
    }

    fn look_as_server(&mut self, mut handshake: Box<server::Handshake>, input: &Input) -> bool {
        let Some(event) = handshake.event() else {
            self.stage = Stage::Server(handshake);
            return false;
        };
        let went = match event {
            server::Event::Tried(_) => Ok(()),
            server::Event::Sign(to_sign) => {
                let signature = keys::HOST.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs");
                handshake.signed(&signature)
            }
            server::Event::Proof(proof) => match (input.byte(), proof.verify()) {
                (0..240, Ok(proven)) => {
                    // Nobody but the user has signed, and the user has signed nothing else.
                    assert_eq!((proven.login(), proven.blob()), (keys::LOGIN, &keys::USER_BLOB[..]));
                    match handshake.admit(&proven) {
                        Ok(connection) => self.stage = Stage::Connected(Box::new(connection)),
                        Err(error) => self.ends(error),
                    }
                    return true;
                }
                (240..250, _) => Err(handshake.expel("out")),
                _ => handshake.refuse(),
            },
        };
        match went {
            Ok(()) => self.stage = Stage::Server(handshake),
            Err(error) => self.ends(error),
        }
        true
    }

    fn look_as_client(&mut self, mut handshake: Box<client::Handshake>, input: &Input) -> bool {
        let Some(event) = handshake.event() else {
            self.stage = Stage::Client(handshake);
            return false;
        };
        let went = match event {
            client::Event::Host(shown) => {
                // Nobody but the host has signed.
                assert_eq!((shown.algorithm, &shown.blob), (keys::PLAIN, &keys::HOST.public().blob()));
                if input.byte() < 240 { handshake.trust() } else { Err(handshake.distrust("not known")) }
            }
            client::Event::Sign(to_sign) => {
                let key = if input.byte() < 240 { &keys::USER } else { &keys::STRANGER };
                handshake.signed(&key.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs"));
                Ok(())
            }
            client::Event::Banner(text) => {
                assert!(!text.chars().any(char::is_control));
                Ok(())
            }
            client::Event::Accepted => {
                if let Some(ledger) = &self.ledger {
                    ledger.borrow_mut().authenticated = true;
                }
                match handshake.connection() {
                    Ok(connection) => self.stage = Stage::Connected(Box::new(connection)),
                    Err(error) => self.ends(error),
                }
                return true;
            }
            client::Event::Refused => Err(handshake.end("no key was accepted")),
        };
        match went {
            Ok(()) => self.stage = Stage::Client(handshake),
            Err(error) => self.ends(error),
        }
        true
    }
}
