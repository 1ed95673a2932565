//! A peer that keeps the rules, and somebody who sits between it and its seal: messages are changed, dropped, doubled,
//! swapped, made up and sent again before they are sealed, so that the other end opens all of them.

use std::cell::RefCell;
use std::rc::Rc;

use ssh::fuzzing::Tamper;

use crate::input::Input;

const NEWKEYS: u8 = 21;

/// The numbers of the messages that went out before and with the first `NEWKEYS`.
#[derive(Default)]
pub struct Opening {
    pub numbers: Vec<u8>,
    pub over: bool,
}

/// Sits in the end that is made next.
pub fn prepare(input: &Input) -> Rc<RefCell<Opening>> {
    let opening = Rc::new(RefCell::new(Opening::default()));
    let seen = Rc::clone(&opening);
    let mut tampering = Tampering { input: input.clone(), pass: 0, kept: None, earlier: Vec::new() };
    Tamper::prepare(move |message| {
        let out = tampering.replace(message);
        let mut opening = seen.borrow_mut();
        for message in &out {
            if !opening.over {
                opening.numbers.push(message[0]);
                opening.over = message[0] == NEWKEYS;
            }
        }
        out
    });
    opening
}

struct Tampering {
    input: Input,
    /// So many go out as they are.
    pass: u8,
    /// To be sent after the next.
    kept: Option<Vec<u8>>,
    earlier: Vec<Vec<u8>>,
}

impl Tampering {
    fn replace(&mut self, message: Vec<u8>) -> Vec<Vec<u8>> {
        if self.earlier.len() < 64 {
            self.earlier.push(message.clone());
        }
        let mut out = if self.pass > 0 {
            self.pass -= 1;
            vec![message]
        } else {
            match self.input.byte() {
                pass @ 0..128 => {
                    self.pass = pass & 0x1f;
                    vec![message]
                }
                change => self.change(change & 0x7f, message),
            }
        };
        if !out.is_empty() {
            out.extend(self.kept.take());
        }
        out.retain(|message| !message.is_empty() && message.len() < 34_000);
        out
    }

    fn change(&mut self, change: u8, mut message: Vec<u8>) -> Vec<Vec<u8>> {
        let input = self.input.clone();
        match change % 12 {
            0 => return Vec::new(),
            1 => return vec![message.clone(), message],
            2 => {
                // Swapped with what comes next; a second one would be lost.
                return self.kept.replace(message).into_iter().collect();
            }
            3 => {
                let place = input.below(message.len());
                message[place] ^= input.byte().max(1);
            }
            4 => {
                let (place, bytes) = (input.below(message.len()), input.bytes());
                let end = (place + bytes.len()).min(message.len());
                message[place..end].copy_from_slice(&bytes[..end - place]);
            }
            5 => message.truncate(input.below(message.len())),
            6 => message.extend_from_slice(&input.bytes()),
            7 => return vec![input.bytes(), message],
            8 => return vec![input.bytes()],
            9 => message[0] = input.byte(),
            10 => {
                let earlier = self.earlier[input.below(self.earlier.len())].clone();
                return vec![earlier, message];
            }
            _ => {
                // In or out of the middle, so that what follows is moved.
                let (place, bytes) = (input.below(message.len()), input.bytes());
                let end = (place + input.below(16)).min(message.len());
                message.splice(place..end, bytes);
            }
        }
        vec![message]
    }
}
