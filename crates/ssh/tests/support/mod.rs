//! Two ends in one thread: a client and a server of this crate, with bytes carried between them by hand.
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::Arc;
use std::time::Duration;

use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::connection::{Connection, Event, Limits};
use ssh::keys::SigningKey;
use ssh::{Error, HostKey, Offer, Settings, client, server};

/// A user key in something that looks like a certificate: what the engine reads of one.
pub fn certificate(key: &SigningKey) -> (KeyAlgorithm, Vec<u8>) {
    let algorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: true };
    let plain = key.public().blob();
    let mut blob = Vec::new();
    let string = |blob: &mut Vec<u8>, bytes: &[u8]| {
        blob.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        blob.extend_from_slice(bytes);
    };
    string(&mut blob, b"ssh-ed25519-cert-v01@openssh.com");
    string(&mut blob, &[7; 32]);
    // The key of a plain blob, with its length, is what follows its name.
    blob.extend_from_slice(&plain[4 + "ssh-ed25519".len()..]);
    // Whose, for how long and by whom: judged by nobody here.
    blob.extend_from_slice(&1u64.to_be_bytes());
    blob.extend_from_slice(&1u32.to_be_bytes());
    string(&mut blob, b"id");
    string(&mut blob, b"");
    blob.extend_from_slice(&0u64.to_be_bytes());
    blob.extend_from_slice(&u64::MAX.to_be_bytes());
    for _ in 0..3 {
        string(&mut blob, b"");
    }
    string(&mut blob, &plain);
    string(&mut blob, &plain);
    (algorithm, blob)
}

/// How the two ends are set up.
#[derive(Clone, Default)]
pub struct Setup {
    pub client: Settings,
    pub server: Settings,
    pub limits: Limits,
}

impl Setup {
    pub fn offering(offer: Offer) -> Self {
        let settings = Settings { offer, ..Settings::default() };
        Self { client: settings.clone(), server: settings, ..Self::default() }
    }
}

/// The keys of both ends.
pub struct Keys {
    pub host: SigningKey,
    pub user: SigningKey,
}

impl Default for Keys {
    fn default() -> Self {
        Self { host: SigningKey::generate_ed25519(), user: SigningKey::generate_ed25519() }
    }
}

impl Keys {
    pub fn server_config(&self, setup: &Setup) -> server::Config {
        let algorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: false };
        server::Config {
            settings: Arc::new(setup.server.clone()),
            host_keys: vec![HostKey { algorithm, blob: self.host.public().blob() }],
            announced: Vec::new(),
            limits: setup.limits,
        }
    }

    pub fn client_config(&self, setup: &Setup) -> client::Config {
        let (algorithm, blob) = certificate(&self.user);
        client::Config {
            settings: Arc::new(setup.client.clone()),
            host_keys: KeyAlgorithm::ALL.to_vec(),
            login: "alice".to_owned(),
            algorithm,
            blob,
            limits: setup.limits,
        }
    }
}

/// One end's output and the other end's input.
#[derive(Default)]
pub struct Pipe {
    pub bytes: Vec<u8>,
    /// How many of them have arrived, where they arrive one by one.
    arrived: usize,
    sent: Vec<u8>,
}

impl Pipe {
    pub fn fill(&mut self, take: impl FnOnce(&mut Vec<u8>)) {
        take(&mut self.sent);
        self.bytes.append(&mut self.sent);
    }

    /// Lets one more byte arrive; says whether there was one.
    pub fn trickle(
        &mut self,
        receive: impl FnOnce(&mut [u8]) -> Result<usize, Error>,
    ) -> Result<bool, Error> {
        let arrives = self.bytes.len() > self.arrived;
        self.arrived += usize::from(arrives);
        let taken = receive(&mut self.bytes[..self.arrived])?;
        self.bytes.drain(..taken);
        self.arrived -= taken;
        Ok(arrives || taken > 0)
    }

    /// Lets an end take what it wants.
    pub fn drain(&mut self, receive: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Result<usize, Error> {
        let taken = receive(&mut self.bytes)?;
        self.bytes.drain(..taken);
        self.arrived = 0;
        Ok(taken)
    }
}

/// Two connections that are authenticated with each other.
pub struct Pair {
    pub client: Connection,
    pub server: Connection,
    pub up: Pipe,
    pub down: Pipe,
    pub keys: Keys,
    pub now: Duration,
}

impl Pair {
    pub fn new(setup: &Setup) -> Self {
        let keys = Keys::default();
        let mut server = Some(server::Handshake::new(Arc::new(keys.server_config(setup))));
        let mut client = Some(client::Handshake::new(Arc::new(keys.client_config(setup))));
        let (mut up, mut down) = (Pipe::default(), Pipe::default());
        let (mut admitted, mut accepted) = (None, None);
        for _ in 0..64 {
            if let Some(end) = &mut server {
                down.fill(|output| end.take_output(output));
                up.drain(|input| end.receive(input)).expect("the client keeps the rules");
                match end.event() {
                    Some(server::Event::Sign(to_sign)) => {
                        let signature = keys.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                        end.signed(&signature.expect("signs")).expect("keys");
                    }
                    Some(server::Event::Proof(proof)) => {
                        let proven = proof.verify().expect("the client has the key");
                        let end = server.take().expect("it is there");
                        admitted = Some(end.admit(&proven).expect("it is this connection's"));
                    }
                    Some(server::Event::Tried(_)) | None => {}
                }
            }
            if let Some(end) = &mut client {
                up.fill(|output| end.take_output(output));
                down.drain(|input| end.receive(input)).expect("the server keeps the rules");
                match end.event() {
                    Some(client::Event::Host(_)) => end.trust().expect("keys"),
                    Some(client::Event::Sign(to_sign)) => {
                        let signature = keys.user.sign(to_sign.algorithm.scheme, &to_sign.data);
                        end.signed(&signature.expect("signs"));
                    }
                    Some(client::Event::Accepted) => {
                        accepted = Some(client.take().expect("it is there").connection().expect("accepted"));
                    }
                    Some(client::Event::Banner(_) | client::Event::Refused) | None => {}
                }
            }
            if let Some(end) = &mut admitted {
                down.fill(|output| Connection::take_output(end, output));
            }
            if accepted.is_some() && admitted.is_some() {
                break;
            }
        }
        let (client, server) = (accepted.expect("in"), admitted.expect("let in"));
        Self { client, server, up, down, keys, now: Duration::ZERO }
    }

    /// Carries what there is, both ways, until nothing moves. Host key signatures are answered, other events returned:
    /// first those of the client, then those of the server.
    pub fn settle(&mut self) -> (Vec<Event>, Vec<Event>) {
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        loop {
            let mut moved = 0;
            self.up.fill(|output| self.client.take_output(output));
            moved += self.up.drain(|input| self.server.receive(input)).expect("the client keeps the rules");
            self.down.fill(|output| self.server.take_output(output));
            moved += self.down.drain(|input| self.client.receive(input)).expect("the server keeps the rules");
            while let Some(event) = self.server.event() {
                moved += 1;
                match event {
                    Event::Sign(to_sign) => {
                        let signature = self.keys.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                        self.server.signed(&signature.expect("signs")).expect("keys");
                    }
                    event => at_server.push(event),
                }
            }
            while let Some(event) = self.client.event() {
                moved += 1;
                at_client.push(event);
            }
            if moved == 0 {
                return (at_client, at_server);
            }
        }
    }
}
