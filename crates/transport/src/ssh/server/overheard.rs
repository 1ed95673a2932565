//! What a client and the engine agreed on, read off the client's first bytes, because the engine does not tell a server.
//!
//! The first `KEXINIT` is in the clear, and both sides sign for it: whoever has logged in was understood as it was
//! written. The server's choice follows from it alone, the client's order being the one that counts (RFC 4253, section
//! 7.1). Nothing is kept once it is read, and what cannot be read has no answer.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::{Algorithms, Negotiated};

/// More than any client says before its `KEXINIT` has ended.
const LIMIT: usize = 64 << 10;
/// The number of the message (RFC 4253, section 12).
const KEXINIT: u8 = 20;

/// Where the answer is found, once there is one.
pub(super) type Answer = Arc<OnceLock<Negotiated>>;

/// A stream that is listened to while it is read.
pub(super) struct Overheard<IO> {
    io: IO,
    listener: Option<Listener>,
}

struct Listener {
    heard: Vec<u8>,
    offered: Algorithms,
    answer: Answer,
}

impl<IO> Overheard<IO> {
    pub(super) fn new(io: IO, offered: Algorithms, answer: Answer) -> Self {
        Self { io, listener: Some(Listener { heard: Vec::new(), offered, answer }) }
    }
}

impl Listener {
    /// Whether there is nothing more to be learned.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        self.heard.extend_from_slice(bytes);
        let said = match key_exchange_init(&self.heard) {
            Said::Incomplete => return self.heard.len() > LIMIT,
            Said::Nonsense => return true,
            Said::Lists(said) => said,
        };
        if let Some(negotiated) = choose(&self.offered, &said) {
            let _ = self.answer.set(negotiated);
        }
        true
    }
}

/// The lists of a client that say what is chosen.
struct Lists<'a> {
    key_exchange: &'a [u8],
    cipher: &'a [u8],
}

enum Said<'a> {
    Incomplete,
    Nonsense,
    Lists(Lists<'a>),
}

/// Finds the first `KEXINIT` behind the identification line.
fn key_exchange_init(heard: &[u8]) -> Said<'_> {
    let Some(line) = heard.iter().position(|byte| *byte == b'\n') else {
        return Said::Incomplete;
    };
    let mut rest = &heard[line + 1..];
    loop {
        let Some((length, after)) = rest.split_first_chunk() else {
            return Said::Incomplete;
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LIMIT {
            return Said::Nonsense;
        }
        let Some((packet, next)) = after.split_at_checked(length) else {
            return Said::Incomplete;
        };
        match payload(packet) {
            Some([KEXINIT, fields @ ..]) => return lists(fields).map_or(Said::Nonsense, Said::Lists),
            Some(_) => rest = next,
            None => return Said::Nonsense,
        }
    }
}

/// Without the padding (RFC 4253, section 6).
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let (padding, rest) = packet.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A cookie of 16 bytes, then lists: key exchanges, types of host keys, ciphers towards the server (section 7.1).
fn lists(fields: &[u8]) -> Option<Lists<'_>> {
    let (key_exchange, rest) = text(fields.get(16..)?)?;
    let (_host_keys, rest) = text(rest)?;
    let (cipher, _) = text(rest)?;
    Some(Lists { key_exchange, cipher })
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// The first of the client's that is offered here. The engine takes one cipher for both directions, by this list.
fn choose(offered: &Algorithms, said: &Lists<'_>) -> Option<Negotiated> {
    let key_exchange = names(said.key_exchange)
        .find(|name| offered.key_exchange.iter().any(|exchange| exchange.names().contains(name)))?;
    let cipher =
        names(said.cipher).find(|name| offered.ciphers.iter().any(|cipher| cipher.name() == *name))?;
    Negotiated::named(key_exchange, cipher)
}

fn names(list: &[u8]) -> impl Iterator<Item = &str> {
    list.split(|byte| *byte == b',').filter_map(|name| std::str::from_utf8(name).ok())
}

impl<IO: AsyncRead + Unpin> AsyncRead for Overheard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if self.listener.as_mut().is_some_and(|listener| listener.hear(read)) {
            self.listener = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Overheard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithms, Answer, Listener, Negotiated};
    use crate::ssh::{Cipher, KeyExchange};
    use proptest::prelude::*;

    fn string(text: &str) -> Vec<u8> {
        [&u32::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 4;
        let length = u32::try_from(payload.len() + 1 + padding).expect("short");
        [&length.to_be_bytes()[..], &[4], payload, &[0; 4]].concat()
    }

    fn greeting(key_exchange: &str, cipher: &str) -> Vec<u8> {
        let fields = [string(key_exchange), string("ssh-ed25519"), string(cipher), string(cipher)].concat();
        let init = packet(&[&[20][..], &[7; 16], &fields].concat());
        [b"SSH-2.0-x\r\n".as_slice(), &packet(b"\x02ignore"), &init].concat()
    }

    fn listener(answer: &Answer) -> Listener {
        Listener { heard: Vec::new(), offered: Algorithms::default(), answer: Answer::clone(answer) }
    }

    fn heard(bytes: &[u8]) -> Option<Negotiated> {
        let answer = Answer::default();
        listener(&answer).hear(bytes);
        answer.get().copied()
    }

    #[test]
    fn the_first_of_the_client_that_we_know_is_it() {
        let (mlkem, curve) = (KeyExchange::MlKem768X25519, KeyExchange::Curve25519);
        for (exchanges, expected) in [
            ("mlkem768x25519-sha256,curve25519-sha256", Some(mlkem)),
            ("curve25519-sha256,mlkem768x25519-sha256", Some(curve)),
            ("unheard-of,curve25519-sha256@libssh.org,ext-info-c", Some(curve)),
            ("ext-info-c,mlkem768x25519-sha256-x,mlkem768x25519-sha256", Some(mlkem)),
            ("diffie-hellman-group14-sha256", None),
            ("", None),
        ] {
            let found = heard(&greeting(exchanges, "aes256-ctr,aes256-gcm@openssh.com"));
            let expected =
                expected.map(|key_exchange| Negotiated { key_exchange, cipher: Cipher::Aes256Gcm });
            assert_eq!(found, expected, "{exchanges}");
        }
        assert_eq!(heard(&greeting("curve25519-sha256", "aes256-ctr")), None);
    }

    #[test]
    fn it_is_heard_byte_by_byte_too() {
        let answer = Answer::default();
        let mut listener = listener(&answer);
        let whole = greeting("mlkem768x25519-sha256", "aes128-gcm@openssh.com");
        let done: Vec<bool> = whole.iter().map(|byte| listener.hear(&[*byte])).collect();
        assert_eq!(done.iter().position(|done| *done), Some(whole.len() - 1));
        assert!(answer.get().is_some_and(Negotiated::is_post_quantum));
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let answer = Answer::default();
        let mut listener = listener(&answer);
        assert!((0..100).any(|_| listener.hear(&[b'x'; 1024])));
        assert!(heard(b"SSH-2.0-x\n\xff\xff\xff\xff").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let mut whole = greeting("curve25519-sha256", "aes128-gcm@openssh.com");
            let at = at.min(whole.len());
            whole.splice(at.., bytes);
            let _ = heard(&whole);
        }
    }
}
