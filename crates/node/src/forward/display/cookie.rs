//! How a program authenticates at a display (X Window System Protocol, "Connection Setup"), looked at before the client
//! hears of it: the port of a display is open to everybody on this host.

use std::fmt;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The one way to authenticate whose proof can be looked at here: it is the cookie itself. Others, whose proofs depend on
/// time or address, are left to the client, which looks at all of them.
const PLAIN_COOKIE: &str = "MIT-MAGIC-COOKIE-1";
/// The fixed part of a greeting.
const HEAD: usize = 12;
/// The longest name of a protocol, and the longest proof.
const MAX_FIELD: u16 = 1024;
/// The protocol's version, in a refusal.
const MAJOR: u16 = 11;
const REASON: &[u8] = b"X11 connection rejected because of wrong authentication.\n\0\0\0";

/// What a program has to know.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cookie {
    protocol: Vec<u8>,
    secret: Vec<u8>,
}

impl Cookie {
    /// From a client's request; nothing if the cookie is not in hexadecimal.
    pub(super) fn new(protocol: &str, cookie: &str) -> Option<Self> {
        let digits = cookie.as_bytes();
        if digits.is_empty() || !digits.len().is_multiple_of(2) {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let secret = digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        Some(Self { protocol: protocol.as_bytes().to_vec(), secret: secret.collect::<Option<_>>()? })
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

/// The first thing that a program says.
pub(super) struct Greeting {
    bytes: Vec<u8>,
    protocol: std::ops::Range<usize>,
    proof: std::ops::Range<usize>,
    big_endian: bool,
}

impl Greeting {
    /// Reads all of it and nothing after it.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = vec![0; HEAD];
        stream.read_exact(&mut bytes).await?;
        let big_endian = match bytes[0] {
            b'B' => true,
            b'l' => false,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let number = |at: usize| {
            let pair = [bytes[at], bytes[at + 1]];
            if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let (protocol, proof) = (number(6), number(8));
        if protocol > MAX_FIELD || proof > MAX_FIELD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (protocol, proof) = (usize::from(protocol), usize::from(proof));
        let second = HEAD + protocol.next_multiple_of(4);
        bytes.resize(second + proof.next_multiple_of(4), 0);
        stream.read_exact(&mut bytes[HEAD..]).await?;
        Ok(Self { bytes, protocol: HEAD..HEAD + protocol, proof: second..second + proof, big_endian })
    }

    pub(super) fn knows(&self, cookie: &Cookie) -> bool {
        if cookie.protocol != PLAIN_COOKIE.as_bytes() {
            return true;
        }
        let (protocol, proof) = (&self.bytes[self.protocol.clone()], &self.bytes[self.proof.clone()]);
        protocol == cookie.protocol && is_same(proof, &cookie.secret)
    }

    /// What a display says to programs that it does not let in.
    pub(super) fn refusal(&self) -> Vec<u8> {
        let number = |value: u16| if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let words = u16::try_from(REASON.len() / 4).unwrap_or(0);
        let length = u8::try_from(REASON.len()).unwrap_or(0);
        let mut refusal = vec![0, length];
        refusal.extend(number(MAJOR));
        refusal.extend(number(0));
        refusal.extend(number(words));
        refusal.extend_from_slice(REASON);
        refusal
    }

    /// To be sent on, byte for byte.
    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// Without telling by its time how much of it is right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::{Cookie, Greeting, HEAD, PLAIN_COOKIE, REASON};

    fn greeting(order: u8, protocol: &str, proof: &[u8]) -> Vec<u8> {
        let number = |value: usize| {
            let value = u16::try_from(value).expect("small");
            if order == b'B' { value.to_be_bytes() } else { value.to_le_bytes() }
        };
        let mut bytes = vec![order, 0];
        for value in [11, 0, protocol.len(), proof.len(), 0] {
            bytes.extend(number(value));
        }
        for field in [protocol.as_bytes(), proof] {
            bytes.extend(field);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[tokio::test]
    async fn only_those_who_know_the_cookie_are_let_in() {
        let cookie = Cookie::new(PLAIN_COOKIE, "00ff10").expect("a cookie");
        for order in [b'B', b'l'] {
            for (protocol, proof, knows) in [
                (PLAIN_COOKIE, &[0, 255, 16][..], true),
                (PLAIN_COOKIE, &[0, 255, 17], false),
                (PLAIN_COOKIE, &[0, 255], false),
                (PLAIN_COOKIE, &[0, 255, 16, 0], false),
                ("MIT-MAGIC-COOKIE-2", &[0, 255, 16], false),
                ("", &[], false),
            ] {
                let bytes = greeting(order, protocol, proof);
                let more = [&bytes[..], b"more"].concat();
                let mut stream = &more[..];
                let read = Greeting::read(&mut stream).await.expect("a greeting");
                assert_eq!(read.knows(&cookie), knows, "{protocol} {proof:?}");
                assert_eq!((stream, &read.into_bytes()[..]), (&b"more"[..], &bytes[..]));
            }
        }
        let other = Cookie::new("XDM-AUTHORIZATION-1", "00").expect("a cookie");
        let bytes = greeting(b'l', "XDM-AUTHORIZATION-1", &[9; 24]);
        assert!(Greeting::read(&mut &bytes[..]).await.expect("a greeting").knows(&other), "the client looks");
    }

    #[tokio::test]
    async fn what_is_no_greeting_is_not_waited_for() {
        let bytes = greeting(b'l', PLAIN_COOKIE, &[1; 16]);
        for end in 0..bytes.len() {
            assert!(Greeting::read(&mut &bytes[..end]).await.is_err());
        }
        assert!(Greeting::read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).await.is_err());
        let mut long = [b'B'; HEAD];
        long[6] = 0xff;
        assert!(Greeting::read(&mut &[&long[..], &[0; 70_000]].concat()[..]).await.is_err());
        assert!(REASON.len().is_multiple_of(4));
        for no in ["", "0", "0g", "é0"] {
            assert!(Cookie::new(PLAIN_COOKIE, no).is_none(), "{no:?}");
        }
    }
}
