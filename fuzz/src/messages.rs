//! Messages of a peer that is authenticated and means no good: well-formed more often than not, so that they are
//! looked at.

use ssh::Role;

use crate::input::Input;
use crate::wire::Message;

const OPENS: [&str; 8] = [
    "session",
    "direct-tcpip",
    "direct-streamlocal@openssh.com",
    "forwarded-tcpip",
    "forwarded-streamlocal@openssh.com",
    "auth-agent@openssh.com",
    "x11",
    "tun@openssh.com",
];
const REQUESTS: [&str; 13] = [
    "shell",
    "exec",
    "pty-req",
    "env",
    "subsystem",
    "window-change",
    "signal",
    "auth-agent-req@openssh.com",
    "x11-req",
    "exit-status",
    "exit-signal",
    "eow@openssh.com",
    "keepalive@openssh.com",
];
const GLOBALS: [&str; 8] = [
    "tcpip-forward",
    "cancel-tcpip-forward",
    "streamlocal-forward@openssh.com",
    "cancel-streamlocal-forward@openssh.com",
    "no-more-sessions@openssh.com",
    "hostkeys-prove-00@openssh.com",
    "hostkeys-00@openssh.com",
    "keepalive@openssh.com",
];

/// One message for an end of this role, which calls its channels by these numbers.
pub fn draw(to: Role, numbers: &[u32], input: &Input) -> Vec<u8> {
    let channel = |input: &Input| channel(numbers, input);
    let message = match input.below(18) {
        0 => Message(input.bytes()),
        1 | 2 => open(to, input),
        3 => sizes(Message::new(91).number(channel(input)).number(own(input)), input),
        4 => failure(channel(input), input),
        5 => Message::new(93).number(channel(input)).number(input.number()),
        6 => Message::new(94).number(channel(input)).string(&data(input)),
        7 => Message::new(95).number(channel(input)).number(input.number()).string(&data(input)),
        8 => Message::new(96).number(channel(input)),
        9 => Message::new(97).number(channel(input)),
        10 | 11 => request(channel(input), input),
        12 => Message::new(99 + input.byte() % 2).number(channel(input)),
        13 => global(input),
        14 if input.chance() => Message::new(82),
        14 => Message::new(81).raw(&input.bytes()),
        15 => Message::new(192 + input.byte() % 2).string(&data(input)),
        16 => Message::new(2 + input.byte() % 3).raw(&input.bytes()),
        _ => exchange(input),
    };
    message.0
}

/// One of those that there are, the latest first, or any.
fn channel(numbers: &[u32], input: &Input) -> u32 {
    let choice = input.byte();
    match numbers.iter().rev().nth(usize::from(choice % 8)) {
        Some(number) if choice < 248 => *number,
        _ => input.number(),
    }
}

/// What the peer calls a channel of its own; not always a new one.
fn own(input: &Input) -> u32 {
    u32::from(input.byte() % 8)
}

/// Some bytes as they come, many of one kind, or none.
fn data(input: &Input) -> Vec<u8> {
    match input.byte() {
        0 => Vec::new(),
        short @ 1..=127 => input.take(usize::from(short)),
        long => vec![long; usize::from(long & 0x7f) * 264],
    }
}

fn sizes(message: Message, input: &Input) -> Message {
    let (window, max_packet) = match input.byte() {
        0..=127 => (1 << 20, 32 << 10),
        _ => (input.number(), input.number()),
    };
    message.number(window).number(max_packet)
}

fn open(to: Role, input: &Input) -> Message {
    let name = OPENS[input.below(OPENS.len())];
    let message = sizes(Message::new(90).string(name.as_bytes()).number(own(input)), input);
    let message = match (to, name) {
        (Role::Server, "direct-tcpip") | (Role::Client, "forwarded-tcpip") => {
            message.string(&data(input)).number(input.number()).string(&data(input)).number(input.number())
        }
        (Role::Server, "direct-streamlocal@openssh.com") => {
            message.string(&data(input)).string(b"").number(0)
        }
        (Role::Client, "forwarded-streamlocal@openssh.com") => message.string(&data(input)).string(b""),
        (Role::Client, "x11") => message.string(&data(input)).number(input.number()),
        _ => message,
    };
    trailer(message, input)
}

fn failure(channel: u32, input: &Input) -> Message {
    let message = Message::new(92).number(channel).number(input.number());
    trailer(message.string(&data(input)).string(b""), input)
}

fn request(channel: u32, input: &Input) -> Message {
    let name = REQUESTS[input.below(REQUESTS.len())];
    let message = Message::new(98).number(channel).string(name.as_bytes()).byte(input.byte() & 1);
    let message = match name {
        "exec" | "subsystem" | "signal" => message.string(&data(input)),
        "env" => message.string(&data(input)).string(&data(input)),
        "pty-req" => four(message.string(&data(input)), input).string(&data(input)),
        "window-change" => four(message, input),
        "x11-req" => {
            message.byte(input.byte()).string(&data(input)).string(&data(input)).number(input.number())
        }
        "exit-status" => message.number(input.number()),
        "exit-signal" => {
            message.string(&data(input)).byte(input.byte()).string(&data(input)).string(&data(input))
        }
        _ => message,
    };
    trailer(message, input)
}

fn global(input: &Input) -> Message {
    let name = GLOBALS[input.below(GLOBALS.len())];
    let message = Message::new(80).string(name.as_bytes()).byte(input.byte() & 1);
    let message = match name {
        "tcpip-forward" | "cancel-tcpip-forward" => message.string(&data(input)).number(input.number()),
        "streamlocal-forward@openssh.com" | "cancel-streamlocal-forward@openssh.com" => {
            message.string(&data(input))
        }
        "hostkeys-prove-00@openssh.com" => {
            let blob = crate::keys::HOST.public().blob();
            (0..input.below(20)).fold(message, |message, _| message.string(&blob))
        }
        _ => message,
    };
    trailer(message, input)
}

/// Of a key exchange that goes as far as it can without keys.
fn exchange(input: &Input) -> Message {
    match input.byte() % 4 {
        0 => {
            let lists = ["curve25519-sha256", "ssh-ed25519", GCM, GCM, "", "", "none", "none", "", ""];
            let message = Message::new(20).raw(&[5; 16]);
            let message = lists.iter().fold(message, |message, list| message.string(list.as_bytes()));
            trailer(message.byte(input.byte() & 1).number(0), input)
        }
        // The base point of X25519.
        1 => Message::new(30).string(&[[9].as_slice(), &[0; 31]].concat()),
        2 => Message::new(21),
        _ => Message::new(input.byte()).raw(&input.bytes()),
    }
}

const GCM: &str = "aes128-gcm@openssh.com";

fn four(message: Message, input: &Input) -> Message {
    (0..4).fold(message, |message, _| message.number(input.number()))
}

/// Now and then something that does not belong there.
fn trailer(message: Message, input: &Input) -> Message {
    if input.byte() >= 250 { message.raw(&input.bytes()) } else { message }
}
