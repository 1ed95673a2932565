//! Two ends, the bytes between them, and what may happen next.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ssh::algorithms::{Cipher, KeyExchange};
use ssh::connection::{
    ChannelEvent, ChannelId, Connection, Event, GlobalAnswer, GlobalRequest, Limits, ListenAt, Origin,
    Purpose, Request, Token, WindowSize,
};
use ssh::{Keepalive, Offer, OpenFailure, Rekey, Settings, ToSign};

use super::choices::Choices;
use super::flow::{Flow, STREAMS, answer, piece};
use super::support::{Keys, Pair, Setup};

/// What waits for an answer is less than what the engine would say no to by itself.
const WAITING: u32 = 30;

struct End {
    connection: Connection,
    arrived: Vec<u8>,
    /// Events that were taken and not looked at.
    todo: VecDeque<Event>,
    signatures: VecDeque<ToSign>,
    offered: Vec<(u32, ChannelId)>,
    questions: Vec<(ChannelId, Token, u32)>,
    wanted: Vec<(Token, u32)>,
    tags: HashMap<ChannelId, u32>,
}

pub struct World {
    pub choices: Choices,
    ends: [End; 2],
    /// What each end sent and the other has not got.
    wires: [Vec<u8>; 2],
    flows: Vec<Flow>,
    limits: Limits,
    keys: Keys,
    now: Duration,
    asked: u32,
    answered: u32,
    /// Whether channels that nobody reads are read now.
    finishing: bool,
    moved: usize,
    pub rekeys: usize,
}

fn settings(choices: &mut Choices) -> Settings {
    let cipher = Cipher::ALL[choices.below(3)];
    let offer =
        Offer { key_exchange: vec![KeyExchange::Curve25519], ciphers: vec![cipher, Cipher::Aes128Gcm] };
    let bytes = [500, 10_000, 1 << 30][choices.below(3)];
    let packets = [20, 1 << 28][choices.below(2)];
    let rekey = Rekey { bytes, packets, interval: Duration::from_secs(60) };
    let keepalive = Keepalive { interval: Duration::from_secs(20), count: 3 };
    Settings { offer, rekey, keepalive, ..Settings::default() }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let window = [200, 5_000, 100_000][choices.below(3)];
        let output = [1, 3_000, 128 << 10][choices.below(3)];
        let limits =
            Limits { channels: 8, window, max_window: 4 * window, growth: 6 * window as usize, output };
        let (client, server) = (settings(&mut choices), settings(&mut choices));
        let Pair { client, server, up, down, keys, .. } = Pair::new(&Setup { client, server, limits });
        let end = |connection, arrived| End {
            connection,
            arrived,
            todo: VecDeque::new(),
            signatures: VecDeque::new(),
            offered: Vec::new(),
            questions: Vec::new(),
            wanted: Vec::new(),
            tags: HashMap::new(),
        };
        Self {
            choices,
            ends: [end(client, down.bytes), end(server, up.bytes)],
            wires: [Vec::new(), Vec::new()],
            flows: Vec::new(),
            limits,
            keys,
            now: Duration::ZERO,
            asked: 0,
            answered: 0,
            finishing: false,
            moved: 0,
            rekeys: 0,
        }
    }

    /// One thing happens, somewhere.
    pub fn step(&mut self) {
        let end = self.choices.below(2);
        match self.choices.below(100) {
            0..20 => self.send(end),
            20..45 => {
                let all = self.wires[end].len();
                let count =
                    if self.choices.chance(50) { all } else { self.choices.size(all.max(1)).min(all) };
                self.carry(end, count);
            }
            45..60 => self.look(end),
            60..64 => self.open(end),
            64..67 => self.decide(end),
            67..70 => self.answer(end),
            70..73 => self.ask(end),
            73..76 => self.pass(end),
            76..78 => self.sign(end),
            _ => self.use_channel(end),
        }
        self.check();
    }

    /// An end gives its output away.
    fn send(&mut self, end: usize) {
        // Whoever drives an end asks it first: what waits must not depend on being asked for nothing.
        if !self.ends[end].connection.has_output() {
            return;
        }
        let mut output = Vec::new();
        self.ends[end].connection.take_output(&mut output);
        assert!(output.len() < self.limits.output + (100 << 10), "{} bytes of output", output.len());
        self.moved += output.len();
        self.wires[end].append(&mut output);
    }

    /// So many bytes arrive at the other end.
    fn carry(&mut self, from: usize, count: usize) {
        let to = &mut self.ends[1 - from];
        to.arrived.extend(self.wires[from].drain(..count));
        let taken = to.connection.receive(&mut to.arrived).expect("honest ends keep the rules");
        to.arrived.drain(..taken);
        self.moved += count + taken;
    }

    /// Somebody looks at an event; those about other things may be overtaken.
    fn look(&mut self, end: usize) {
        let this = &mut self.ends[end];
        while let Some(event) = this.connection.event() {
            this.todo.push_back(event);
            if self.choices.chance(30) {
                break;
            }
        }
        if this.todo.is_empty() {
            return;
        }
        let chosen = self.choices.below(this.todo.len());
        let about = |event: &Event| match event {
            Event::Channel(id, _) | Event::Request(id, ..) => Some(*id),
            _ => None,
        };
        let subject = about(&this.todo[chosen]);
        let first =
            this.todo.iter().position(|event| about(event) == subject).expect("at least the chosen one");
        let event = this.todo.remove(first).expect("found");
        self.moved += 1;
        self.told(end, event);
    }

    fn told(&mut self, end: usize, event: Event) {
        match event {
            Event::Sign(to_sign) => self.ends[end].signatures.push_back(to_sign),
            Event::Channel(id, ChannelEvent::Offered(purpose)) => {
                let tag = tag(&purpose);
                self.ends[end].tags.insert(id, tag);
                self.ends[end].offered.push((tag, id));
                self.flows[tag as usize].sides[end].id = Some(id);
            }
            Event::Channel(id, event) => self.told_of_channel(end, id, &event),
            Event::Request(id, Request::WindowChange(WindowSize { columns, .. }), Some(token)) => {
                let tag = self.ends[end].tags[&id];
                let questions = &mut self.flows[tag as usize].sides[end].questions;
                assert_eq!(*questions, columns, "questions come in order");
                *questions += 1;
                self.ends[end].questions.push((id, token, columns));
            }
            Event::Global(GlobalRequest::Listen(ListenAt::Tcp(number, 0)), token) => {
                self.ends[end].wanted.push((token, number.parse().expect("a number")));
            }
            Event::GlobalAnswer(answer) => {
                assert_eq!(answer, global_answer(self.answered), "answers come in order");
                self.answered += 1;
            }
            other => panic!("nobody asked for {other:?}"),
        }
    }

    fn told_of_channel(&mut self, end: usize, id: ChannelId, event: &ChannelEvent) {
        let this = &mut self.ends[end];
        let flow = &mut self.flows[this.tags[&id] as usize];
        let side = &mut flow.sides[end];
        match event {
            ChannelEvent::Opened => side.open = true,
            ChannelEvent::Failed { .. } => flow.refused = true,
            ChannelEvent::Readable => side.readable = true,
            ChannelEvent::Writable => side.writable = true,
            ChannelEvent::Answered(yes) => {
                assert_eq!(*yes, answer(side.answers), "answers come in order");
                side.answers += 1;
            }
            ChannelEvent::Closed => side.peer_closed = true,
            ChannelEvent::Offered(_) => unreachable!("looked at before"),
        }
    }

    fn open(&mut self, end: usize) {
        let tag = u32::try_from(self.flows.len()).expect("a few");
        let origin = Origin { address: String::new(), port: 0 };
        let path = tag.to_string().into_bytes();
        let purpose = match (end, self.choices.chance(50)) {
            (0, true) => Purpose::DirectTcpip { host: String::new(), port: tag, origin },
            (0, false) => Purpose::DirectStreamlocal { path },
            (_, true) => Purpose::ForwardedTcpip { address: String::new(), port: tag, origin },
            (_, false) => Purpose::ForwardedStreamlocal { path },
        };
        if let Some(id) = self.ends[end].connection.open(&purpose) {
            let mut flow = Flow::default();
            flow.sides[end].id = Some(id);
            self.flows.push(flow);
            self.ends[end].tags.insert(id, tag);
        }
    }

    /// A channel that was offered some time ago is taken or not.
    fn decide(&mut self, end: usize) {
        let this = &mut self.ends[end];
        if this.offered.is_empty() {
            return;
        }
        let (tag, id) = this.offered.swap_remove(self.choices.below(this.offered.len()));
        let flow = &mut self.flows[tag as usize];
        match self.choices.below(10) {
            0 => this.connection.reject(id, OpenFailure::ConnectFailed, "no"),
            1 => {
                this.connection.release(id);
                flow.sides[end].released = true;
            }
            _ => {
                this.connection.accept(id);
                flow.sides[end].open = true;
            }
        }
        self.moved += 1;
    }

    /// A question is answered, not always the first.
    fn answer(&mut self, end: usize) {
        let this = &mut self.ends[end];
        if !this.questions.is_empty() {
            let (id, token, number) = this.questions.swap_remove(self.choices.below(this.questions.len()));
            this.connection.answer(id, token, answer(number));
            self.moved += 1;
        }
        if !this.wanted.is_empty() {
            let (token, number) = this.wanted.swap_remove(self.choices.below(this.wanted.len()));
            this.connection.answer_global(token, global_answer(number));
            self.moved += 1;
        }
    }

    /// The client asks the connection as a whole.
    fn ask(&mut self, end: usize) {
        if end == 0 && self.asked - self.answered < WAITING {
            self.ends[end].connection.listen(&ListenAt::Tcp(self.asked.to_string(), 0));
            self.asked += 1;
        }
    }

    /// Time passes for an end, or for both; the other notices later.
    fn pass(&mut self, end: usize) {
        self.now += Duration::from_millis(self.choices.below(500) as u64);
        let both = self.choices.chance(30);
        for end in if both { vec![end, 1 - end] } else { vec![end] } {
            self.ends[end].connection.tick(self.now).expect("nobody is silent for long");
        }
    }

    /// The host key signs, some time after it was asked to.
    fn sign(&mut self, end: usize) {
        if let Some(to_sign) = self.ends[end].signatures.pop_front() {
            let signature = self.keys.host.sign(to_sign.algorithm.scheme, &to_sign.data).expect("signs");
            self.ends[end].connection.signed(&signature).expect("keys");
            self.rekeys += 1;
            self.moved += 1;
        }
    }

    fn use_channel(&mut self, end: usize) {
        if self.flows.is_empty() {
            return;
        }
        let recent = self.choices.below(self.flows.len().min(8));
        let tag = u32::try_from(self.flows.len() - 1 - recent).expect("a few");
        match self.choices.below(100) {
            0..45 => self.write(end, tag),
            45..80 if tag.is_multiple_of(5) && !self.finishing => {}
            45..80 => self.read(end, tag, 1),
            80..88 => self.request(end, tag),
            88..92 => self.eof(end, tag),
            92..94 => self.ignore(end, tag),
            94..96 => self.close(end, tag),
            96..98 => self.release(end, tag),
            _ => {}
        }
    }

    /// Goes on with what was left over, or begins something.
    fn write(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        let (Some(id), true) = (side.id, side.can_write()) else { return };
        let (stream, length) = match side.backlog {
            Some(_) if !side.writable => return,
            Some(left) => left,
            None if self.finishing => return,
            None => (self.choices.below(2), self.choices.size(60_000)),
        };
        let data = piece(tag, end, stream, side.written[stream], length);
        let Ok(written) = self.ends[end].connection.write(id, STREAMS[stream], &data) else {
            // It is closed and the event on its way.
            assert!(self.flows[tag as usize].sides[1 - end].closed);
            return;
        };
        side.written[stream] += written as u64;
        side.writable = false;
        side.backlog = (written < length).then_some((stream, length - written));
        self.moved += written;
        let total = |counts: [u64; 2]| counts[0] + counts[1];
        let (here, there) = (total(side.written), &self.flows[tag as usize].sides[1 - end]);
        if !there.ignored && !there.released && !there.closed {
            assert!(here - total(there.read) <= u64::from(self.limits.max_window), "the window is a limit");
        }
    }

    fn read(&mut self, end: usize, tag: u32, times: usize) {
        let side = &mut self.flows[tag as usize].sides[end];
        for _ in 0..times {
            let (Some(id), true, false) = (side.id, side.readable, side.released) else { return };
            match self.ends[end].connection.read(id) {
                Some(inbound) => side.takes(tag, 1 - end, &inbound),
                None => side.readable = false,
            }
            self.moved += 1;
        }
    }

    fn request(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        if let (0, Some(id), true, true) = (end, side.id, side.open, side.asked - side.answers < WAITING) {
            let size = WindowSize { columns: side.asked, ..WindowSize::default() };
            if self.ends[end].connection.request(id, &Request::WindowChange(size), true).is_ok() {
                side.asked += 1;
            }
        }
    }

    fn eof(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        if let (Some(id), true, None) = (side.id, side.can_write(), side.backlog) {
            side.eof_sent = self.ends[end].connection.eof(id).is_ok();
        }
    }

    fn ignore(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        if let (Some(id), true) = (side.id, side.open) {
            self.ends[end].connection.ignore(id);
            side.ignored = true;
        }
    }

    fn close(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        if let (Some(id), true) = (side.id, side.open) {
            self.ends[end].connection.close(id);
            side.closed = true;
        }
    }

    fn release(&mut self, end: usize, tag: u32) {
        let side = &mut self.flows[tag as usize].sides[end];
        // What was offered is decided on first.
        if let (Some(id), true) = (side.id, self.ends[end].offered.iter().all(|(offered, _)| *offered != tag))
        {
            self.ends[end].connection.release(id);
            (side.released, side.closed) = (true, true);
        }
    }

    fn check(&self) {
        for end in &self.ends {
            let unread = end.connection.unread();
            assert!(unread <= self.limits.unread(), "{unread} bytes wait");
            assert!(end.connection.channel_count() <= self.limits.channels);
        }
    }

    /// Nothing new begins; what has begun comes to its end, or hangs.
    pub fn finish(&mut self) {
        self.finishing = true;
        self.come_to_rest();
        for (tag, flow) in self.flows.iter().enumerate() {
            flow.check(u32::try_from(tag).expect("a few"));
        }
        assert_eq!(self.asked, self.answered, "every question has its answer");
        for tag in 0..self.flows.len() {
            for end in 0..2 {
                self.release(end, u32::try_from(tag).expect("a few"));
            }
        }
        self.come_to_rest();
        let left = [0, 1].map(|end: usize| self.ends[end].connection.channel_count());
        assert_eq!(left, [0, 0], "channels are gone");
    }

    fn come_to_rest(&mut self) {
        loop {
            self.moved = 0;
            for end in 0..2 {
                self.send(end);
                self.carry(end, self.wires[end].len());
                for _ in 0..200 {
                    self.look(end);
                }
                self.decide(end);
                self.answer(end);
                self.sign(end);
                for tag in 0..u32::try_from(self.flows.len()).expect("a few") {
                    self.read(end, tag, 3);
                    self.write(end, tag);
                }
            }
            self.check();
            if self.moved == 0 {
                return;
            }
        }
    }
}

fn global_answer(number: u32) -> GlobalAnswer {
    if answer(number) { GlobalAnswer::Port(number) } else { GlobalAnswer::Refused }
}

fn tag(purpose: &Purpose) -> u32 {
    match purpose {
        Purpose::DirectTcpip { port, .. } | Purpose::ForwardedTcpip { port, .. } => *port,
        Purpose::DirectStreamlocal { path } | Purpose::ForwardedStreamlocal { path } => {
            String::from_utf8_lossy(path).parse().expect("a number")
        }
        other => panic!("nobody opened {other:?}"),
    }
}
