//! Clients with gRPC's C core (Python, C++, Ruby, PHP and others) name a Unix socket by its path: `:authority: run%2Fa.sock`.
//! That is a host by RFC 3986 (section 3.2.2), and our HTTP library takes it for none and resets the call. Here each `%` in it
//! becomes a hyphen on its way in; nobody reads the name of a Unix socket.
//!
//! One byte for one byte, so that neither frames nor the table of HPACK (RFC 7541) have to be made anew. What is not understood is
//! left as it came: the library judges it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: usize = 24;
const HEAD: usize = 9;
/// The longest frame that is looked into: the longest that a client may send unasked (RFC 9113, section 4.2).
const LONGEST: usize = 16 * 1024;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
const AUTHORITY_NAME: &[u8] = b":authority";

/// A connection with names that the library takes.
pub(super) struct Named<S> {
    inner: S,
    /// What was read: first what may be handed on, then what has to be looked at.
    input: Vec<u8>,
    done: usize,
    /// Bytes to come that are handed on as they are.
    pass: usize,
    ended: bool,
}

impl<S> Named<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, input: Vec::new(), done: 0, pass: PREFACE, ended: false }
    }

    /// Looks at what is there, as far as it is whole.
    fn look(&mut self) {
        loop {
            let waiting = self.input.len() - self.done;
            let passed = self.pass.min(waiting);
            (self.pass, self.done) = (self.pass - passed, self.done + passed);
            let Some([a, b, c, kind, flags, ..]) = self.input.get(self.done..self.done + HEAD) else {
                return;
            };
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind != HEADERS || length > LONGEST {
                self.pass = HEAD + length;
                continue;
            }
            let (flags, start) = (*flags, self.done + HEAD);
            let Some(payload) = self.input.get_mut(start..start + length) else { return };
            // `None` is what the library will refuse.
            let _ = rename(payload, flags);
            self.pass = HEAD + length;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Named<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.done > 0 {
                let given = this.done.min(buf.remaining());
                buf.put_slice(&this.input[..given]);
                this.input.drain(..given);
                this.done -= given;
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; 4096];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            this.ended = read.filled().is_empty();
            this.input.extend_from_slice(read.filled());
            this.look();
            if this.ended {
                this.done = this.input.len();
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Named<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Goes through the fields of a HEADERS frame (RFC 9113, section 6.2; RFC 7541, section 6).
fn rename(payload: &mut [u8], flags: u8) -> Option<()> {
    let padded = flags & PADDED != 0;
    let padding = if padded { usize::from(*payload.first()?) } else { 0 };
    let mut at = usize::from(padded) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let end = payload.len().checked_sub(padding)?;
    let block = payload.get_mut(..end)?;
    while at < block.len() {
        let first = block[at];
        let is_indexed = first & 0x80 != 0;
        let is_table_size = first & 0xe0 == 0x20;
        let bits = match first {
            _ if is_indexed => 7,
            _ if first & 0x40 != 0 => 6,
            _ if is_table_size => 5,
            _ => 4,
        };
        let index = integer(block, &mut at, bits)?;
        if is_indexed || is_table_size {
            continue;
        }
        let mut is_authority = index == AUTHORITY;
        if index == 0 {
            is_authority = text(block, &mut at)?.is_some_and(|name| name == AUTHORITY_NAME);
        }
        if let Some(value) = text(block, &mut at)?.filter(|_| is_authority) {
            value.iter_mut().filter(|byte| **byte == b'%').for_each(|byte| *byte = b'-');
        }
    }
    Some(())
}

/// Section 5.1 of RFC 7541.
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Section 5.2: the bytes, unless they are in Huffman's code.
fn text<'a>(block: &'a mut [u8], at: &mut usize) -> Option<Option<&'a mut [u8]>> {
    let is_coded = *block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let end = at.checked_add(length)?;
    let bytes = block.get_mut(*at..end)?;
    *at = end;
    Some((!is_coded).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Named, PREFACE, rename};
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    /// As gRPC's C core writes it: the name in letters, to be remembered.
    fn block(value: &[u8]) -> Vec<u8> {
        let mut block = vec![0x83, 0x40, 10];
        block.extend_from_slice(b":authority");
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value);
        block.extend_from_slice(b"\x00\x01x\x03a%b");
        block
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn the_authority_is_renamed_and_nothing_else() {
        let mut renamed = block(b"run%2Fa.sock");
        rename(&mut renamed, 0).expect("understood");
        assert_eq!(renamed, block(b"run-2Fa.sock"));
        // By its number in the static table; with priority and padding.
        let mut payload = [&[2, 0, 0, 0, 0, 0][..], b"\x01\x03a%b", b"%%"].concat();
        rename(&mut payload, 0x28).expect("understood");
        assert_eq!(payload, [&[2, 0, 0, 0, 0, 0][..], b"\x01\x03a-b", b"%%"].concat());
        // In Huffman's code it stays.
        let mut payload = b"\x01\x83a%b".to_vec();
        rename(&mut payload, 0).expect("understood");
        assert_eq!(payload, b"\x01\x83a%b");
    }

    #[tokio::test]
    async fn a_connection_is_the_same_but_for_that_however_it_arrives() {
        let preface = [b'%'; PREFACE];
        let written = |authority: &[u8]| {
            [&preface[..], &frame(4, 0, b""), &frame(1, 4, &block(authority)), &frame(0, 0, b"%%%"), b"%"]
                .concat()
        };
        let (sent, expected) = (written(b"a%2Fb"), written(b"a-2Fb"));
        for piece in [1, 7, 4096] {
            let pieces = sent.chunks(piece).fold(Pieces::default(), Pieces::piece);
            let mut read = Vec::new();
            Named::new(pieces).read_to_end(&mut read).await.expect("reads");
            assert_eq!(read, expected, "in pieces of {piece}");
        }
    }

    /// Gives one piece with each read.
    #[derive(Default)]
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl Pieces {
        fn piece(mut self, chunk: &[u8]) -> Self {
            self.0.push_back(chunk.to_vec());
            self
        }
    }

    impl tokio::io::AsyncRead for Pieces {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some(piece) = self.get_mut().0.pop_front() {
                buf.put_slice(&piece);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u8>()) {
            let length = bytes.len();
            let _ = rename(&mut bytes, flags);
            prop_assert_eq!(bytes.len(), length);
        }

        #[test]
        fn no_stream_panics_or_loses_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut read = Vec::new();
            runtime.block_on(Named::new(bytes.as_slice()).read_to_end(&mut read)).expect("reads");
            prop_assert_eq!(read.len(), bytes.len());
        }
    }
}
