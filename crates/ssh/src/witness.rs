//! What somebody in between sees of a server before there are keys: its line, its proposal, and the host key that it shows.
//!
//! The first key exchange of a connection is in the clear (RFC 4253, section 7), and in none that is known here can the client
//! make the keys before it has the message with the server's host key, because the server's share of the secret is in the
//! same one. So whoever holds that message back until it has looked at the host key decides which server is reached.
//!
//! Only the server's bytes are read. Which exchange was agreed on would follow from the client's as well, but a client may be
//! whom the witness is there for, and must have nothing to say in what is seen. The server's messages tell by themselves: a
//! host key begins with the length of its algorithm's name, three zero bytes, and a prime number (the other thing that comes
//! under the same number, RFC 4419) never does.

use crate::message as kind;
use crate::packet::MAX_PACKET;
use crate::wire::{Reader, Writer};

/// The longest line, with its end (RFC 4253, section 4.2).
const MAX_LINE: usize = 255;
/// More than any proposal, group and certificate together.
const MAX_TOTAL: usize = 64 << 10;
/// The largest prime of a group exchange is 8,192 bits long (RFC 4419, section 3).
const MAX_PRIME: usize = 8192 / 8;
/// The bytes before a packet's content: its length, and the length of its padding.
const HEAD: usize = 5;

/// `KEXDH_REPLY` and its like, and `KEX_DH_GEX_GROUP` where a group is asked for.
const REPLY: u8 = kind::KEX_REPLY;
/// `KEX_DH_GEX_REPLY`.
const GROUP_REPLY: u8 = 33;

/// Follows a server's bytes until it shows its host key.
#[derive(Debug, Default)]
pub struct Witness {
    line: bool,
    proposal: bool,
    group: bool,
    /// Bytes that were let pass.
    passed: usize,
}

/// What the bytes at hand come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'a> {
    /// More of them are needed.
    Nothing,
    /// So many bytes show no host key, and bring the client no nearer to any keys.
    Harmless(usize),
    /// The first message of these bytes shows this host key or certificate.
    HostKey(&'a [u8]),
}

/// The server does something else than exchange keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Astray {
    /// Its first line is none of SSH 2.0.
    #[error("it does not speak SSH 2.0")]
    Line,
    /// A length that no packet has.
    #[error("a packet of it has an impossible length")]
    Length,
    /// A message that cannot be read.
    #[error("message {0} of it is malformed")]
    Malformed(u8),
    /// A message that has no place before the host key.
    #[error("message {0} of it comes before it has shown a host key")]
    Unexpected(u8),
    /// It goes on and on.
    #[error("it says too much before it shows a host key")]
    TooMuch,
}

impl Witness {
    /// Looks at bytes that have not passed yet, from the first of them on.
    ///
    /// # Errors
    /// When what is there is not the beginning of a key exchange. Nothing of it may pass then.
    pub fn look<'a>(&mut self, bytes: &'a [u8]) -> Result<Sight<'a>, Astray> {
        let sight = if self.line { self.packet(bytes)? } else { self.first_line(bytes)? };
        if let Sight::Harmless(count) = sight {
            self.passed += count;
            if self.passed > MAX_TOTAL {
                return Err(Astray::TooMuch);
            }
        }
        Ok(sight)
    }

    /// Ends a connection in the server's place, to a client that has seen no more than what was harmless.
    #[must_use]
    pub fn farewell(&self, words: &str) -> Vec<u8> {
        /// `SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE` (RFC 4253, section 11.1).
        const HOST_KEY_NOT_VERIFIABLE: u32 = 9;
        let mut content = vec![kind::DISCONNECT];
        content.extend(HOST_KEY_NOT_VERIFIABLE.to_be_bytes());
        content.put_string(words.as_bytes());
        content.put_string(b"");
        // To a multiple of eight, and at least four bytes of it (RFC 4253, section 6).
        let padding = 4 + (8 - (HEAD + content.len() + 4) % 8) % 8;
        let mut bytes = if self.line { Vec::new() } else { b"SSH-2.0-Postern\r\n".to_vec() };
        bytes.extend(u32::try_from(1 + content.len() + padding).unwrap_or(u32::MAX).to_be_bytes());
        bytes.push(u8::try_from(padding).unwrap_or(u8::MAX));
        bytes.extend(content);
        bytes.resize(bytes.len() + padding, 0);
        bytes
    }

    fn first_line(&mut self, bytes: &[u8]) -> Result<Sight<'static>, Astray> {
        const START: &[u8] = b"SSH-2.0-";
        let known = bytes.len().min(START.len());
        if bytes[..known] != START[..known] {
            return Err(Astray::Line);
        }
        match bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
            Some(end) => {
                self.line = true;
                Ok(Sight::Harmless(end + 1))
            }
            None if bytes.len() >= MAX_LINE => Err(Astray::Line),
            None => Ok(Sight::Nothing),
        }
    }

    fn packet<'a>(&mut self, bytes: &'a [u8]) -> Result<Sight<'a>, Astray> {
        let Some(length) = bytes.first_chunk().copied().map(u32::from_be_bytes) else {
            return Ok(Sight::Nothing);
        };
        let length = usize::try_from(length).map_err(|_| Astray::Length)?;
        if length > MAX_PACKET {
            return Err(Astray::Length);
        }
        let end = HEAD - 1 + length;
        let Some(packet) = bytes.get(..end) else { return Ok(Sight::Nothing) };
        let padding = packet.get(HEAD - 1).copied().ok_or(Astray::Length)?;
        let content = end.checked_sub(usize::from(padding)).and_then(|content| packet.get(HEAD..content));
        let (number, body) = content.and_then(|content| content.split_first()).ok_or(Astray::Length)?;
        self.message(*number, body).map(|shown| shown.map_or(Sight::Harmless(end), Sight::HostKey))
    }

    /// The host key in a message, if it is one that shows it.
    fn message<'a>(&mut self, number: u8, body: &'a [u8]) -> Result<Option<&'a [u8]>, Astray> {
        match number {
            kind::DISCONNECT | kind::IGNORE | kind::UNIMPLEMENTED | kind::DEBUG => Ok(None),
            kind::KEXINIT if !self.proposal => {
                self.proposal = true;
                Ok(None)
            }
            REPLY if self.proposal && !self.group => {
                let malformed = |_| Astray::Malformed(number);
                let mut reader = Reader::new(body);
                let first = reader.string().map_err(malformed)?;
                if first.starts_with(&[0, 0, 0]) {
                    return Ok(Some(first));
                }
                let mut reader = Reader::new(body);
                for _prime_and_generator in 0..2 {
                    reader.positive(MAX_PRIME).map_err(malformed)?;
                }
                reader.end().map_err(malformed)?;
                self.group = true;
                Ok(None)
            }
            GROUP_REPLY if self.group => {
                Reader::new(body).string().map(Some).map_err(|_| Astray::Malformed(number))
            }
            // Among them the beginning of encryption, and exchanges in which no host key is shown.
            _ => Err(Astray::Unexpected(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Astray, GROUP_REPLY, MAX_TOTAL, REPLY, Sight, Witness};
    use crate::message as kind;
    use crate::wire::Writer;
    use proptest::prelude::*;

    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x01k";

    fn packet(content: &[u8]) -> Vec<u8> {
        let padding = 4 + (8 - (content.len() + 9) % 8) % 8;
        let length = u32::try_from(1 + content.len() + padding).expect("small");
        [&length.to_be_bytes()[..], &[u8::try_from(padding).expect("small")], content, &vec![7; padding]]
            .concat()
    }

    fn message(number: u8, strings: &[&[u8]]) -> Vec<u8> {
        let mut content = vec![number];
        strings.iter().for_each(|string| content.put_string(string));
        packet(&content)
    }

    /// How many bytes pass, and what host key is seen or what is wrong.
    fn watch(bytes: &[u8]) -> (usize, Result<Option<Vec<u8>>, Astray>) {
        let (mut witness, mut passed) = (Witness::default(), 0);
        loop {
            match witness.look(&bytes[passed..]) {
                Ok(Sight::Nothing) => return (passed, Ok(None)),
                Ok(Sight::Harmless(count)) => passed += count,
                Ok(Sight::HostKey(key)) => return (passed, Ok(Some(key.to_vec()))),
                Err(astray) => return (passed, Err(astray)),
            }
        }
    }

    fn after_proposal(rest: &[&[u8]]) -> (Vec<u8>, usize) {
        let start = [b"SSH-2.0-x\r\n", &packet(&[&[kind::KEXINIT][..], &[0; 61]].concat())[..]].concat();
        let length = start.len();
        ([&start[..], &rest.concat()].concat(), length)
    }

    #[test]
    fn the_host_key_is_seen_and_nothing_behind_it_passes() {
        let reply = message(REPLY, &[KEY, b"share", b"signature"]);
        let (bytes, harmless) = after_proposal(&[&reply, &packet(&[kind::NEWKEYS])]);
        assert_eq!(watch(&bytes), (harmless, Ok(Some(KEY.to_vec()))));
        for end in 0..bytes.len() {
            let (passed, seen) = watch(&bytes[..end]);
            assert!(passed <= harmless, "{end}");
            assert!(seen.is_ok_and(|key| key.is_none_or(|key| key == KEY)), "{end}");
        }
    }

    #[test]
    fn a_group_comes_first_where_one_is_asked_for() {
        let group = message(REPLY, &[&[0, 0xff, 1], &[2]]);
        let reply = message(GROUP_REPLY, &[KEY, b"share", b"signature"]);
        let (bytes, start) = after_proposal(&[&group, &reply]);
        assert_eq!(watch(&bytes), (start + group.len(), Ok(Some(KEY.to_vec()))));
        // A second one, one with a number that is none, and a reply to which no group belongs.
        for (rest, passes, wrong) in [
            ([&group, &group], group.len(), Astray::Unexpected(REPLY)),
            ([&group, &message(REPLY, &[KEY])], group.len(), Astray::Unexpected(REPLY)),
            ([&message(REPLY, &[&[0, 1], &[2]]), &reply], 0, Astray::Malformed(REPLY)),
            ([&message(REPLY, &[&[0, 0xff, 1], &[2], &[3]]), &reply], 0, Astray::Malformed(REPLY)),
            ([&reply, &group], 0, Astray::Unexpected(GROUP_REPLY)),
        ] {
            let (bytes, start) = after_proposal(&[rest[0], rest[1]]);
            assert_eq!(watch(&bytes), (start + passes, Err(wrong)));
        }
    }

    #[test]
    fn nothing_else_passes_before_the_host_key() {
        // GSS-API's exchanges send the server's share as 32, without a host key; RSA's send the key as 30.
        for number in (0..=u8::MAX).filter(|number| ![1, 2, 3, 4, REPLY].contains(number)) {
            let (bytes, harmless) = after_proposal(&[&message(number, &[KEY, b"share"])]);
            assert_eq!(watch(&bytes), (harmless, Err(Astray::Unexpected(number))), "{number}");
        }
        let early = [&b"SSH-2.0-x\n"[..], &message(REPLY, &[KEY])].concat();
        assert_eq!(watch(&early), (10, Err(Astray::Unexpected(REPLY))));
    }

    #[test]
    fn what_is_no_line_or_packet_does_not_pass() {
        let long = [&b"SSH-2.0-"[..], &[b'x'; 300]].concat();
        for line in [&b"SSH-1.99-x\r\n"[..], b"SSH-1.5-x\r\n", b"HTTP/1.1 200\r\n", &long] {
            assert_eq!(watch(line), (0, Err(Astray::Line)));
        }
        for head in [
            &[0xff; 8][..],
            &[0, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0],
            &[0, 0, 0, 2, 9, 2, 0],
            &[0, 0, 0x88, 0xb9, 4],
        ] {
            assert_eq!(watch(&[b"SSH-2.0-x\r\n", head].concat()), (11, Err(Astray::Length)), "{head:?}");
        }
        let endless = [&b"SSH-2.0-x\r\n"[..], &message(kind::IGNORE, &[&[0; 9_000]]).repeat(20)].concat();
        let (passed, seen) = watch(&endless);
        assert!(passed <= MAX_TOTAL && seen == Err(Astray::TooMuch), "{passed} {seen:?}");
    }

    #[test]
    fn a_farewell_is_a_message_that_clients_read() {
        for words in ["", "no", "a server that shows another host's certificate"] {
            let mut witness = Witness::default();
            let bytes = witness.farewell(words);
            assert!(bytes.starts_with(b"SSH-2.0-"), "the client has seen no line");
            assert_eq!(watch(&bytes), (bytes.len(), Ok(None)), "{words}");
            assert_eq!(witness.look(b"SSH-2.0-x\r\n"), Ok(Sight::Harmless(11)));
            let bytes = witness.farewell(words);
            assert_eq!((bytes.len() % 8, bytes[5]), (0, kind::DISCONNECT));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = watch(&bytes);
            let _ = watch(&[b"SSH-2.0-x\r\n", &bytes[..]].concat());
            let _ = watch(&after_proposal(&[&packet(&bytes)]).0);
        }
    }
}
