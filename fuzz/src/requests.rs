//! A connection whose peer is the fuzzer: messages in plain, calls of the interface between them, and bounds on what is
//! sent, kept and allocated.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ssh::connection::{Connection, Limits};
use ssh::{Error, Keepalive, Rekey, Role, Settings, fuzzing};

use crate::ALLOCATOR;
use crate::actions::Book;
use crate::input::Input;
use crate::keys;
use crate::ledger::{Granted, Ledger};
use crate::messages;

/// Small, so that each is reached.
const LIMITS: Limits =
    Limits { channels: 4, window: 4096, max_window: 16 << 10, growth: 16 << 10, output: 8 << 10 };
/// The longest message that fits a packet.
const LONGEST: usize = 34_000;
/// The longest packet, and what its answer takes besides.
const PACKET: usize = 36_000;
/// What may wait for the end of a key exchange (`MAX_HELD` of the transport layer), and the message that passed it.
/// The shortest are kept in five bytes each, and sent in sixteen without a cipher, in thirty-two with one.
const HELD: usize = ((1 << 20) + PACKET) * 7;
/// All that a connection with these limits may have the allocator give, with what the harness holds.
const MEMORY: usize = 32 << 20;
/// Messages and calls in one run.
const STEPS: usize = 4096;

struct Scene {
    role: Role,
    input: Input,
    connection: Connection,
    book: Book,
    ledger: Rc<RefCell<Ledger>>,
    /// What the peer sent and the connection has not taken.
    pending: Vec<u8>,
    last: Vec<u8>,
    now: Duration,
    /// Whether events are looked at only when the script says so.
    lazy: bool,
    /// What our own calls have added to the output, which only the peer's part of is bounded.
    ours: usize,
}

/// Runs one script.
pub fn run(data: &[u8]) {
    let before = ALLOCATOR.allocated();
    let mut scene = Scene::new(Input::new(data));
    for _ in 0..STEPS {
        if scene.input.is_empty() {
            break;
        }
        if let Err(error) = scene.step().and_then(|()| scene.deliver()) {
            scene.ledger.borrow().ended(&error);
            return;
        }
        scene.check();
        let memory = ALLOCATOR.allocated().saturating_sub(before);
        assert!(memory <= MEMORY, "{memory} bytes are allocated");
    }
}

impl Scene {
    fn new(input: Input) -> Self {
        let choices = input.byte();
        let role = if choices & 1 == 0 { Role::Server } else { Role::Client };
        let rekey = Rekey { packets: if choices & 2 == 0 { 1 << 28 } else { 16 }, ..Rekey::default() };
        let keepalive = Keepalive { interval: Duration::from_secs(60), count: 3 };
        let settings = Arc::new(Settings { rekey, keepalive, ..Settings::default() });
        let ledger = Ledger::watch(role, Some(Granted::default()));
        ledger.borrow_mut().authenticated = true;
        let host_keys = vec![keys::host_key()];
        Self {
            role,
            connection: Connection::in_the_clear(role, settings, host_keys, LIMITS, choices & 4 != 0),
            input,
            book: Book::default(),
            ledger,
            pending: Vec::new(),
            last: Vec::new(),
            now: Duration::ZERO,
            lazy: choices & 8 != 0,
            ours: 0,
        }
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.input.below(16) {
            0 => self.drain(),
            1..=8 => {
                self.last = messages::draw(self.role, &self.numbers(), &self.input);
                self.queue(1)?;
            }
            9 => {
                let times = usize::from(self.input.byte());
                self.queue(if times < 240 { 1 + times % 8 } else { (times - 239) * 256 })?;
            }
            10 => {
                self.now += Duration::from_secs(u64::from(self.input.byte()));
                self.connection.tick(self.now)?;
                _ = self.connection.deadline();
            }
            11 => self.book.look(&mut self.connection),
            _ => {
                let before = self.waiting();
                self.book.act(self.role, &mut self.connection, &self.input)?;
                self.ours += self.waiting().saturating_sub(before);
            }
        }
        Ok(())
    }

    /// What the connection calls its channels.
    fn numbers(&self) -> Vec<u32> {
        self.ledger.borrow().granted.as_ref().map_or_else(Vec::new, |granted| granted.numbers.clone())
    }

    /// The peer sends its last message so many times.
    fn queue(&mut self, times: usize) -> Result<(), Error> {
        if self.last.is_empty() || self.last.len() > LONGEST {
            return Ok(());
        }
        let packet = fuzzing::packet(&self.last);
        for _ in 0..times {
            if self.pending.len() > PACKET {
                self.deliver()?;
            }
            // A peer that is not listened to stops.
            if self.pending.len() > PACKET {
                return Ok(());
            }
            if let Some(granted) = &mut self.ledger.borrow_mut().granted {
                granted.receives(&self.last);
            }
            self.pending.extend_from_slice(&packet);
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), Error> {
        while !self.pending.is_empty() {
            let taken = self.connection.receive(&mut self.pending)?;
            self.pending.drain(..taken);
            if self.lazy || taken == 0 {
                break;
            }
            self.book.look(&mut self.connection);
        }
        Ok(())
    }

    fn drain(&mut self) {
        let mut output = Vec::new();
        self.connection.take_output(&mut output);
        assert!(!self.connection.has_output());
        self.ours = self.waiting();
    }

    fn waiting(&self) -> usize {
        let gauge = self.connection.gauge();
        gauge.output + gauge.held
    }

    fn check(&self) {
        self.ledger.borrow().goes_on();
        let unread = self.connection.unread();
        assert!(unread <= LIMITS.unread(), "{unread} bytes wait to be taken");
        assert!(self.connection.channel_count() <= LIMITS.channels);
        let gauge = self.connection.gauge();
        let most = LIMITS.output + Connection::MAX_ANSWERS + HELD + 2 * PACKET + self.ours;
        assert!(gauge.output + gauge.held <= most, "{gauge:?} waits to be sent");
        // A message makes two events at most, and writers are told once each.
        let most = Connection::MAX_EVENTS + 2 + LIMITS.channels;
        assert!(!self.lazy || gauge.events <= most, "{gauge:?}");
        assert!(gauge.blocked <= LIMITS.channels, "{gauge:?}");
    }
}
