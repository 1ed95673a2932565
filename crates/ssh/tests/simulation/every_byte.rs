//! One conversation, over and over, with fresh keys wanted after each of its bytes in turn.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ssh::algorithms::{Cipher, KeyExchange};
use ssh::connection::{ChannelEvent, ChannelId, Connection, Event, Inbound, Purpose, Request, Stream};
use ssh::{Keepalive, Offer, Settings};

use super::support::{Pair, Setup};

/// Who wants fresh keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Client,
    Server,
    Both,
}

const INTERVAL: Duration = Duration::from_secs(3600);

/// What the two ends heard, each in its order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    client: Vec<Inbound>,
    server: Vec<Inbound>,
    answers: Vec<bool>,
}

fn expected() -> Heard {
    let text = |text: &'static str| Inbound::Data(Bytes::from_static(text.as_bytes()));
    let stderr = Inbound::Extended { code: 1, data: Bytes::from_static(b"three") };
    Heard {
        client: vec![stderr, text("four"), Inbound::Eof, Inbound::ExitStatus(5)],
        server: vec![text("onetwo"), Inbound::Eof],
        answers: vec![true, false],
    }
}

/// A conversation under way.
struct Conversation<'p> {
    pair: &'p mut Pair,
    here: ChannelId,
    heard: Heard,
    /// What each end is about to do; it waits while keys are exchanged.
    plans: [VecDeque<Plan>; 2],
}

enum Plan {
    Write(ChannelId, Stream, &'static [u8]),
    Eof(ChannelId),
    Release(ChannelId),
}

impl<'p> Conversation<'p> {
    fn begin(pair: &'p mut Pair) -> Self {
        let here = pair.client.open(&Purpose::Session).expect("room");
        Self { pair, here, heard: Heard::default(), plans: Default::default() }
    }

    /// One byte more, if there is one, first upwards and then downwards; says whether anything moved.
    fn step(&mut self, upwards: bool) -> bool {
        let Pair { client, server, up, down, .. } = &mut *self.pair;
        let moved = match upwards {
            true => {
                up.fill(|output| client.take_output(output));
                up.trickle(|input| server.receive(input)).expect("the client keeps the rules")
            }
            false => {
                down.fill(|output| server.take_output(output));
                down.trickle(|input| client.receive(input)).expect("the server keeps the rules")
            }
        };
        while let Some(event) = self.pair.server.event() {
            self.at_server(event);
        }
        while let Some(event) = self.pair.client.event() {
            self.at_client(event);
        }
        let [at_client, at_server] = &mut self.plans;
        go_on(&mut self.pair.client, at_client);
        go_on(&mut self.pair.server, at_server);
        moved
    }

    fn at_client(&mut self, event: Event) {
        let client = &mut self.pair.client;
        match event {
            Event::Channel(id, ChannelEvent::Opened) => {
                assert_eq!(id, self.here);
                client.request(id, &Request::Exec(b"x".to_vec()), true).expect("open");
                client.request(id, &Request::AgentForward, true).expect("open");
                self.plans[0].push_back(Plan::Write(id, Stream::Data, b"one"));
            }
            Event::Channel(id, ChannelEvent::Answered(yes)) => {
                self.heard.answers.push(yes);
                if self.heard.answers.len() == 2 {
                    self.plans[0].extend([Plan::Write(id, Stream::Data, b"two"), Plan::Eof(id)]);
                }
            }
            Event::Channel(id, ChannelEvent::Readable) => take(client, id, &mut self.heard.client),
            Event::Channel(id, ChannelEvent::Closed) => client.release(id),
            Event::Channel(_, ChannelEvent::Writable) => {}
            other => panic!("{other:?}"),
        }
    }

    fn at_server(&mut self, event: Event) {
        let server = &mut self.pair.server;
        match event {
            Event::Sign(to_sign) => {
                let signature = self.pair.keys.host.sign(to_sign.algorithm.scheme, &to_sign.data);
                server.signed(&signature.expect("signs")).expect("keys");
            }
            Event::Channel(id, ChannelEvent::Offered(_)) => server.accept(id),
            Event::Request(id, request, Some(token)) => {
                server.answer(id, token, matches!(request, Request::Exec(_)));
            }
            Event::Channel(id, ChannelEvent::Readable) => {
                take(server, id, &mut self.heard.server);
                if self.heard.server.last() == Some(&Inbound::Eof) {
                    let (three, four) =
                        (Plan::Write(id, Stream::Stderr, b"three"), Plan::Write(id, Stream::Data, b"four"));
                    self.plans[1].extend([three, four, Plan::Eof(id), Plan::Release(id)]);
                }
            }
            Event::Channel(_, ChannelEvent::Closed | ChannelEvent::Writable) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn take(connection: &mut Connection, id: ChannelId, heard: &mut Vec<Inbound>) {
    while let Some(inbound) = connection.read(id) {
        // How the bytes were cut does not matter here.
        match (heard.last_mut(), inbound) {
            (Some(Inbound::Data(before)), Inbound::Data(more)) => {
                *before = [&before[..], &more].concat().into();
            }
            (_, inbound) => heard.push(inbound),
        }
    }
}

fn go_on(connection: &mut Connection, plans: &mut VecDeque<Plan>) {
    while let Some(plan) = plans.front_mut() {
        match plan {
            Plan::Write(id, stream, data) => {
                let written = connection.write(*id, *stream, data).expect("open");
                *data = &data[written..];
                if !data.is_empty() {
                    return;
                }
            }
            Plan::Eof(id) => connection.eof(*id).expect("open"),
            Plan::Release(id) => {
                connection.exit_status(*id, 5).expect("open");
                connection.release(*id);
            }
        }
        plans.pop_front();
    }
}

/// Runs it with fresh keys wanted after so many bytes; says whether it was long enough for that.
fn run(pair: &mut Pair, wanted_after: usize, wants: Wants) -> bool {
    pair.now += INTERVAL;
    let now = pair.now;
    let (mut carried, mut still, mut wanted) = (0, 0, false);
    let mut conversation = Conversation::begin(pair);
    while still < 2 {
        if carried == wanted_after && !wanted {
            wanted = true;
            let Pair { client, server, .. } = &mut *conversation.pair;
            if wants != Wants::Server {
                client.tick(now).expect("in time");
            }
            if wants != Wants::Client {
                server.tick(now).expect("in time");
            }
        }
        let moved = conversation.step(carried % 2 == 0) || conversation.step(carried % 2 == 1);
        carried += usize::from(moved);
        still = if moved { 0 } else { still + 1 };
    }
    assert_eq!(conversation.heard, expected(), "{wants:?} after {wanted_after} bytes");
    assert_eq!((pair.client.channel_count(), pair.server.channel_count()), (0, 0));
    // The other end takes note of the time, so that keys are young when the next conversation begins.
    let fresh = |end: &mut Connection| end.tick(now).expect("in time");
    fresh(&mut pair.client);
    fresh(&mut pair.server);
    let (at_client, at_server) = pair.settle();
    assert!(at_client.is_empty() && at_server.is_empty());
    wanted
}

#[test]
fn keys_may_be_changed_after_every_byte_by_either_end_or_both() {
    for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
        let offer = Offer { key_exchange: vec![KeyExchange::Curve25519], ciphers: vec![cipher] };
        let keepalive = Keepalive { interval: Duration::ZERO, count: 0 };
        let settings = Settings { keepalive, ..Setup::offering(offer).client };
        let setup = Setup { client: settings.clone(), server: settings, ..Setup::default() };
        for wants in [Wants::Client, Wants::Server, Wants::Both] {
            let mut pair = Pair::new(&setup);
            pair.settle();
            let mut after = 0;
            while run(&mut pair, after, wants) {
                after += 1;
            }
            assert!(after > 500, "{after} bytes");
        }
    }
}
