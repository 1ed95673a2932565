//! What local clients call a socket, changed on its way to the HTTP library: a filter over HTTP/2 as any process of the machine
//! may write it.
//!
//! The file is taken from `transport` by itself: the crate around it takes minutes to build.
#![no_main]

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

#[allow(dead_code, reason = "it is a part of something larger")]
#[path = "../../crates/transport/src/rpc/open/authority.rs"]
mod authority;

use authority::Named;

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

fuzz_target!(|data: &[u8]| {
    let [mode, piece, rest @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    match mode % 2 {
        0 => whatever_comes(rest, piece),
        _ => what_was_written(rest, piece),
    }
});

/// A stream of any bytes: one hyphen for one percent sign, within the fields of requests, and nothing else.
fn whatever_comes(bytes: &[u8], piece: usize) {
    let passed = through(bytes, piece);
    assert_eq!(passed.len(), bytes.len(), "bytes were lost or made up");
    let fields = of_requests(bytes);
    for (at, (came, went)) in bytes.iter().zip(&passed).enumerate() {
        let renamed = *came == b'%' && *went == b'-' && fields.iter().any(|fields| fields.contains(&at));
        assert!(came == went || renamed, "byte {at} of {bytes:02x?} became {went:02x}");
    }
    assert_eq!(through(bytes, usize::MAX), passed, "pieces make a difference");
    assert_eq!(through(&passed, piece), passed, "what was renamed is renamed again");
}

/// Where the payloads of HEADERS frames are.
fn of_requests(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut found) = (PREFACE, Vec::new());
    while let Some([a, b, c, kind, ..]) = bytes.get(at..at + HEAD) {
        let (start, length) = (at + HEAD, usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
        if *kind == HEADERS {
            found.push(start..start + length);
        }
        at = start + length;
    }
    found
}

/// Frames that were written field by field, so that it is known what has to become of each byte.
fn what_was_written(script: &[u8], piece: usize) {
    let mut script = Script(script);
    let (mut sent, mut expected) = (vec![b'%'; PREFACE], vec![b'%'; PREFACE]);
    while !script.0.is_empty() && sent.len() < 8 * 1024 {
        let (kind, flags) = (script.byte(), script.byte());
        if kind % 4 == 0 {
            // A frame of another kind, full of what looks like one.
            let payload = script.text();
            let kind = kind | 2;
            frame(&mut sent, kind, flags, &payload);
            frame(&mut expected, kind, flags, &payload);
            continue;
        }
        let (mut came, mut went) = (Vec::new(), Vec::new());
        let padding = if flags & PADDED != 0 { usize::from(script.byte() % 24) } else { 0 };
        for payload in [&mut came, &mut went] {
            if flags & PADDED != 0 {
                payload.push(padding as u8);
            }
            if flags & PRIORITY != 0 {
                payload.extend_from_slice(b"%%%%%");
            }
        }
        for _ in 0..script.byte() % 6 {
            field(&mut script, &mut came, &mut went);
        }
        for (stream, payload) in [(&mut sent, &mut came), (&mut expected, &mut went)] {
            // What would be a name, if it were no padding.
            payload.extend(b"\x01\x03%%%".iter().cycle().take(padding));
            frame(stream, HEADERS, flags, payload);
        }
    }
    assert_eq!(through(&sent, piece), expected, "{sent:02x?}");
}

/// One representation of HPACK (RFC 7541, section 6), as it comes and as it has to go on.
fn field(script: &mut Script<'_>, came: &mut Vec<u8>, went: &mut Vec<u8>) {
    let (form, number) = (script.byte(), usize::from(script.byte()) * 3);
    match form % 6 {
        0 => both(came, went, |out| integer(out, 0x80, 7, number)),
        1 => both(came, went, |out| integer(out, 0x20, 5, number)),
        literal => {
            let (first, bits) = [(0x40, 6), (0x00, 4), (0x10, 4), (0x40, 6)][usize::from(literal) - 2];
            let is_authority = match form / 6 % 4 {
                // By the name's place in the static table.
                0 => {
                    both(came, went, |out| integer(out, first, bits, 1));
                    true
                }
                // By another one's.
                1 => {
                    let other = number.max(2);
                    both(came, went, |out| integer(out, first, bits, other));
                    false
                }
                // In letters.
                spelt => {
                    let name = if spelt == 2 { b":authority".to_vec() } else { script.text() };
                    let coded = script.byte() % 4 == 0;
                    both(came, went, |out| {
                        integer(out, first, bits, 0);
                        string(out, &name, coded);
                    });
                    name == b":authority" && !coded
                }
            };
            let (value, coded) = (script.text(), script.byte() % 4 == 0);
            string(came, &value, coded);
            let renamed = value.iter().map(|byte| if *byte == b'%' { b'-' } else { *byte }).collect();
            string(went, if is_authority && !coded { &renamed } else { &value }, coded);
        }
    }
}

fn both(came: &mut Vec<u8>, went: &mut Vec<u8>, write: impl Fn(&mut Vec<u8>)) {
    write(came);
    write(went);
}

fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        return out.push(first | value as u8);
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, bytes: &Vec<u8>, coded: bool) {
    integer(out, if coded { 0x80 } else { 0 }, 7, bytes.len());
    out.extend_from_slice(bytes);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    out.extend_from_slice(payload);
}

/// Bytes that choose.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn text(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text.to_vec()
    }
}

/// What comes out at the other end, read in pieces.
fn through(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut named = Named::new(Pieces(bytes, piece));
    match pin!(named.read_to_end(&mut out)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => drop(read.expect("bytes in memory")),
        Poll::Pending => panic!("it waits for something"),
    }
    out
}

struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let (now, later) = this.0.split_at(this.0.len().min(this.1).min(buf.remaining()));
        buf.put_slice(now);
        this.0 = later;
        Poll::Ready(Ok(()))
    }
}
