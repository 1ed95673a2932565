//! From the first byte to the connection, however the bytes are cut and however late the answers come.

use std::sync::Arc;

use ssh::algorithms::{Cipher, KeyExchange};
use ssh::connection::{ChannelEvent, Connection, Event, Purpose};
use ssh::{Offer, Settings, ToSign, client, server};

use super::choices::Choices;
use super::support::{Keys, Setup};

/// Two ends that greet each other, and what waits for an answer at each.
struct Greeting {
    keys: Keys,
    server: Option<server::Handshake>,
    client: Option<client::Handshake>,
    admitted: Option<Connection>,
    accepted: Option<Connection>,
    /// From the client, and from the server.
    wires: [Vec<u8>; 2],
    arrived: [Vec<u8>; 2],
    at_server: Vec<server::Event>,
    at_client: Vec<client::Event>,
    /// How many proofs are refused before one does.
    refusals: usize,
}

impl Greeting {
    fn new(choices: &mut Choices) -> Self {
        let key_exchange = vec![KeyExchange::ALL[choices.below(3)]];
        let offer = Offer { key_exchange, ciphers: vec![Cipher::ALL[choices.below(3)]] };
        let setup = Setup { client: Settings { offer, ..Settings::default() }, ..Setup::default() };
        let keys = Keys::default();
        Self {
            server: Some(server::Handshake::new(Arc::new(keys.server_config(&setup)))),
            client: Some(client::Handshake::new(Arc::new(keys.client_config(&setup)))),
            keys,
            admitted: None,
            accepted: None,
            wires: [Vec::new(), Vec::new()],
            arrived: [Vec::new(), Vec::new()],
            at_server: Vec::new(),
            at_client: Vec::new(),
            refusals: choices.below(2),
        }
    }

    fn send(&mut self) {
        let mut output = Vec::new();
        match (&mut self.client, &mut self.accepted) {
            (Some(end), _) => end.take_output(&mut output),
            (_, Some(end)) => end.take_output(&mut output),
            _ => {}
        }
        self.wires[0].append(&mut output);
        match (&mut self.server, &mut self.admitted) {
            (Some(end), _) => end.take_output(&mut output),
            (_, Some(end)) => end.take_output(&mut output),
            _ => {}
        }
        self.wires[1].append(&mut output);
    }

    fn carry(&mut self, from: usize, count: usize) {
        let count = count.min(self.wires[from].len());
        let arrived = &mut self.arrived[from];
        arrived.extend(self.wires[from].drain(..count));
        let taken = match (from, &mut self.server, &mut self.client) {
            (0, Some(end), _) => end.receive(arrived),
            (1, _, Some(end)) => end.receive(arrived),
            (0, ..) => self.admitted.as_mut().expect("in").receive(arrived),
            _ => self.accepted.as_mut().expect("in").receive(arrived),
        };
        arrived.drain(..taken.expect("honest ends keep the rules"));
    }

    fn listen(&mut self) {
        let server = self.server.as_mut();
        self.at_server.extend(server.and_then(server::Handshake::event));
        let client = self.client.as_mut();
        self.at_client.extend(client.and_then(client::Handshake::event));
    }

    fn sign(&self, to_sign: &ToSign, host: bool) -> Vec<u8> {
        let key = if host { &self.keys.host } else { &self.keys.user };
        key.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs")
    }

    fn answer_server(&mut self) {
        match self.at_server.pop() {
            Some(server::Event::Sign(to_sign)) => {
                let signature = self.sign(&to_sign, true);
                self.server.as_mut().expect("there").signed(&signature).expect("keys");
            }
            Some(server::Event::Proof(proof)) => {
                let proven = proof.verify().expect("good");
                let end = self.server.take().expect("there");
                if self.refusals > 0 {
                    let mut end = end;
                    end.refuse().expect("may try again");
                    self.server = Some(end);
                } else {
                    self.admitted = Some(end.admit(&proven).expect("its own"));
                }
            }
            Some(server::Event::Tried(tried)) => panic!("{tried:?}"),
            None => {}
        }
    }

    fn answer_client(&mut self) {
        match self.at_client.pop() {
            Some(client::Event::Host(shown)) => {
                assert_eq!(shown.blob, self.keys.host.public().blob());
                self.client.as_mut().expect("there").trust().expect("keys");
            }
            Some(client::Event::Sign(to_sign)) => {
                let signature = self.sign(&to_sign, false);
                self.client.as_mut().expect("there").signed(&signature);
            }
            Some(client::Event::Accepted) => {
                self.accepted = Some(self.client.take().expect("there").connection().expect("accepted"));
            }
            Some(client::Event::Refused) => self.client = None,
            Some(client::Event::Banner(text)) => panic!("{text}"),
            None => {}
        }
    }

    /// Says whether the client is in; it is, unless it was refused.
    fn run(mut self, choices: &mut Choices) -> bool {
        let largest = [1, 20, 5000][choices.below(3)];
        for _ in 0..200_000 {
            match choices.below(8) {
                0 => self.send(),
                1..4 => self.carry(0, choices.size(largest)),
                4..6 if self.client.is_some() || self.accepted.is_some() => {
                    self.carry(1, choices.size(largest))
                }
                6 => self.listen(),
                7 if choices.chance(50) => self.answer_server(),
                7 => self.answer_client(),
                _ => {}
            }
            match (&self.client, &mut self.accepted, &mut self.admitted) {
                (None, None, _) => return false,
                (_, Some(client), Some(server)) => {
                    return understand(client, server, &mut self.wires, &mut self.arrived);
                }
                _ => {}
            }
        }
        panic!("it hangs");
    }
}

/// What was on its way goes on, and a channel can be opened.
fn understand(
    client: &mut Connection,
    server: &mut Connection,
    wires: &mut [Vec<u8>; 2],
    arrived: &mut [Vec<u8>; 2],
) -> bool {
    client.open(&Purpose::Session).expect("room");
    for _ in 0..3 {
        let mut output = Vec::new();
        client.take_output(&mut output);
        wires[0].append(&mut output);
        server.take_output(&mut output);
        wires[1].append(&mut output);
        for ((end, arrived), wire) in
            [&mut *server, &mut *client].into_iter().zip(&mut *arrived).zip(&mut *wires)
        {
            arrived.append(wire);
            let taken = end.receive(arrived).expect("honest ends keep the rules");
            arrived.drain(..taken);
        }
    }
    assert_eq!(client.session_id(), server.session_id());
    matches!(server.event(), Some(Event::Channel(_, ChannelEvent::Offered(Purpose::Session))))
}

#[test]
fn ends_greet_each_other_however_slowly() {
    for seed in 0..300 {
        let mut choices = Choices::new(seed);
        let greeting = Greeting::new(&mut choices);
        let welcome = greeting.refusals == 0;
        assert_eq!(greeting.run(&mut choices), welcome, "seed {seed}");
    }
}
