//! What an end may send, and when, whatever its peer does. It sees each message before it is sealed, knows the rules of
//! RFC 4253 and RFC 4254 by itself, and panics when one is broken.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ssh::fuzzing::Tamper;
use ssh::{Error, Role};

use crate::wire::Fields;

const DISCONNECT: u8 = 1;
const KEXINIT: u8 = 20;
const NEWKEYS: u8 = 21;
const USERAUTH_SUCCESS: u8 = 52;
const LARGEST_DATA: usize = 32 << 10;

/// What one end has sent.
pub struct Ledger {
    role: Role,
    last: u8,
    in_exchange: bool,
    pub authenticated: bool,
    /// What the peer has allowed; not kept where both ends are real.
    pub granted: Option<Granted>,
}

/// What the peer has allowed and asked for, at most.
#[derive(Default)]
pub struct Granted {
    channels: HashMap<u32, Channel>,
    /// What the end calls its latest channels.
    pub numbers: Vec<u32>,
    pub offers: usize,
    pub questions: usize,
    pub global_questions: usize,
}

/// By the peer's number, which it may give to several.
#[derive(Default)]
struct Channel {
    open: usize,
    window: u64,
    max_packet: u32,
}

impl Ledger {
    /// Watches the end that is made next.
    pub fn watch(role: Role, granted: Option<Granted>) -> Rc<RefCell<Self>> {
        let ledger = Self { role, last: 0, in_exchange: false, authenticated: false, granted };
        let ledger = Rc::new(RefCell::new(ledger));
        let watched = Rc::clone(&ledger);
        Tamper::prepare(move |message| {
            watched.borrow_mut().sent(&message);
            vec![message]
        });
        ledger
    }

    fn sent(&mut self, message: &[u8]) {
        let number = message[0];
        assert_ne!(self.last, DISCONNECT, "message {number} after the goodbye");
        self.last = number;
        match number {
            DISCONNECT => return,
            KEXINIT => assert!(!std::mem::replace(&mut self.in_exchange, true), "KEXINIT twice"),
            NEWKEYS => assert!(std::mem::take(&mut self.in_exchange), "NEWKEYS without KEXINIT"),
            30 => assert!(self.in_exchange && self.role == Role::Client),
            31 => assert!(self.in_exchange && self.role == Role::Server),
            _ => assert!(!self.in_exchange, "message {number} during a key exchange"),
        }
        if !self.authenticated {
            let allowed: &[u8] = match self.role {
                Role::Server => &[6, 7, 20, 21, 31, 51, USERAUTH_SUCCESS, 60, 193],
                Role::Client => &[5, 20, 21, 30, 50, 193],
            };
            assert!(allowed.contains(&number), "message {number} before authentication");
            self.authenticated = number == USERAUTH_SUCCESS;
        } else {
            let right = matches!(number, 20 | 21 | 30 | 31 | 80..=82 | 90..=100 | 192 | 193);
            assert!(right, "message {number} on a connection");
        }
        if let Some(granted) = &mut self.granted {
            granted.sent(message);
        }
    }

    /// The end came to this error: the peer knows why, or needs not be told.
    pub fn ended(&self, error: &Error) {
        let told = self.last == DISCONNECT;
        // A server tells what does not speak SSH in a line, which is no message.
        let stranger = self.role == Role::Server && error.to_string().contains("does not speak SSH");
        match error {
            Error::Violation(_) if stranger => assert!(!told, "a packet for {error:?}"),
            Error::Violation(_) | Error::Ended(_) => assert!(told, "no goodbye with {error:?}"),
            Error::Disconnected { .. } | Error::Silent => assert!(!told, "a goodbye with {error:?}"),
        }
    }

    /// The end was not told of an error.
    pub fn goes_on(&self) {
        assert_ne!(self.last, DISCONNECT, "a goodbye that nobody on our side was told of");
    }
}

impl Granted {
    /// The peer is about to send this, legal or not.
    pub fn receives(&mut self, message: &[u8]) {
        let number = |at: usize| {
            message.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four")))
        };
        // Behind a string that begins at 1.
        let behind = |at: usize| number(at).map_or(usize::MAX / 2, |length| at + 4 + length as usize);
        match message.first() {
            Some(80) => self.global_questions += 1,
            Some(90) => {
                self.offers += 1;
                let at = behind(1);
                self.grant(number(at), number(at + 4), number(at + 8), false);
            }
            Some(91) => self.grant(number(5), number(9), number(13), true),
            // Which of the peer's numbers an adjustment is for is known to the end only.
            Some(93) => {
                let more = u64::from(number(5).unwrap_or(0));
                self.channels.values_mut().for_each(|channel| channel.window += more);
            }
            Some(98) => self.questions += 1,
            _ => {}
        }
    }

    fn grant(&mut self, remote: Option<u32>, window: Option<u32>, max_packet: Option<u32>, open: bool) {
        if let (Some(remote), Some(window), Some(max_packet)) = (remote, window, max_packet) {
            let channel = self.channels.entry(remote).or_default();
            channel.window += u64::from(window);
            channel.max_packet = channel.max_packet.max(max_packet);
            channel.open += usize::from(open);
        }
    }

    fn sent(&mut self, message: &[u8]) {
        let mut fields = Fields(&message[1..]);
        match message[0] {
            81 | 82 => take(&mut self.global_questions, "global answer"),
            90 => {
                fields.string();
                self.name(fields.number());
            }
            91 => {
                take(&mut self.offers, "answer to an offer");
                self.channel(fields.number()).open += 1;
                let (number, window, max_packet) = (fields.number(), fields.number(), fields.number());
                fields.end();
                assert!(window > 0 && max_packet as usize == LARGEST_DATA);
                self.name(number);
            }
            92 => {
                take(&mut self.offers, "answer to an offer");
                self.channel(fields.number());
            }
            94 | 95 => {
                let remote = fields.number();
                if message[0] == 95 {
                    assert_eq!(fields.number(), 1, "kind of extended data");
                }
                let length = fields.string().len();
                fields.end();
                let channel = self.open(remote);
                assert!(length > 0 && length <= LARGEST_DATA.min(channel.max_packet as usize));
                let left = channel.window.checked_sub(length as u64);
                channel.window = left.expect("no more data than the window allows");
            }
            97 => self.open(fields.number()).open -= 1,
            99 | 100 => {
                take(&mut self.questions, "answer to a request");
                self.open(fields.number());
            }
            93 | 96 | 98 => _ = self.open(fields.number()),
            _ => {}
        }
    }

    fn name(&mut self, number: u32) {
        assert!(!self.numbers.contains(&number), "a number means two channels");
        if self.numbers.len() == 8 {
            self.numbers.remove(0);
        }
        self.numbers.push(number);
    }

    fn channel(&mut self, remote: u32) -> &mut Channel {
        self.channels.get_mut(&remote).expect("a channel that the peer named")
    }

    fn open(&mut self, remote: u32) -> &mut Channel {
        let channel = self.channel(remote);
        assert!(channel.open > 0, "a message about a channel that is not open");
        channel
    }
}

fn take(count: &mut usize, what: &str) {
    *count = count.checked_sub(1).unwrap_or_else(|| panic!("an {what} that nobody waits for"));
}
