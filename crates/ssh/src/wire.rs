//! The data types of RFC 4251, section 5: reading what a stranger sent, writing what we say.
//!
//! Reading is total: every length is compared with what is there before anything is taken, nothing is allocated for a
//! length, and whatever is not exactly as the RFC has it is [`Malformed`].

use bytes::{BufMut, BytesMut};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct Malformed;

/// Takes values from the front of a message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// So many bytes as they are.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// `byte`
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    /// `boolean`: every value but 0 is true.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    /// `uint32`
    pub fn uint32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// `string`
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.uint32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// `string` that is text in UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed)
    }

    /// `name-list`: printable US-ASCII, names separated by commas; empty names are malformed.
    pub fn names(&mut self) -> Result<Names<'a>, Malformed> {
        let list = self.string()?;
        if !list.iter().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err(Malformed);
        }
        let list = std::str::from_utf8(list).map_err(|_| Malformed)?;
        if !list.is_empty() && list.split(',').any(str::is_empty) {
            return Err(Malformed);
        }
        Ok(Names(list))
    }

    /// `mpint` that is positive, without its leading zero; at most `limit` bytes long. Zero, negative numbers and
    /// superfluous leading bytes are malformed.
    pub fn positive(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let number = match self.string()? {
            [0, rest @ ..] => match rest.first() {
                Some(byte) if byte & 0x80 != 0 => rest,
                _ => return Err(Malformed),
            },
            [first, ..] if first & 0x80 != 0 => return Err(Malformed),
            [] => return Err(Malformed),
            number => number,
        };
        if number.len() > limit { Err(Malformed) } else { Ok(number) }
    }

    /// What is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// A `name-list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a>(&'a str);

impl<'a> Names<'a> {
    /// The names, in order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    /// Whether a name is among them.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|one| one == name)
    }
}

/// Appends values to a message.
pub trait Writer: BufMut {
    /// `boolean`
    fn put_boolean(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    /// `string`. What we send is always shorter than 4 GiB, so a longer one is an error in this crate.
    fn put_string(&mut self, bytes: &[u8]) {
        self.put_u32(u32::try_from(bytes.len()).expect("no message of ours is 4 GiB long"));
        self.put_slice(bytes);
    }

    /// `name-list`
    fn put_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let list = names.into_iter().collect::<Vec<_>>().join(",");
        self.put_string(list.as_bytes());
    }

    /// `mpint` of a number without a sign, big-endian, with or without leading zeros.
    fn put_mpint(&mut self, number: &[u8]) {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let number = &number[start..];
        let sign = number.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = number.len() + usize::from(sign);
        self.put_u32(u32::try_from(length).expect("no number of ours is 4 GiB long"));
        if sign {
            self.put_u8(0);
        }
        self.put_slice(number);
    }
}

impl Writer for BytesMut {}
impl Writer for Vec<u8> {}

#[cfg(test)]
mod tests {
    use super::{Malformed, Reader, Writer};
    use bytes::BufMut as _;
    use proptest::prelude::*;

    /// RFC 4251, section 5: the examples of `mpint`.
    #[test]
    fn rfc4251_5_mpint_examples() {
        let cases: [(&[u8], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ];
        for (number, encoded) in cases {
            let mut written = Vec::new();
            written.put_mpint(number);
            assert_eq!(written, encoded);
            let read = Reader::new(encoded).positive(64);
            assert_eq!(read.ok(), (!number.is_empty()).then_some(number));
        }
        // -1234 and -deadbeef have no place in this protocol.
        for negative in [&[0, 0, 0, 2, 0xed, 0xcc][..], &[0, 0, 0, 5, 0xff, 0x21, 0x52, 0x41, 0x11]] {
            assert_eq!(Reader::new(negative).positive(64), Err(Malformed));
        }
    }

    #[test]
    fn rfc4251_5_numbers_have_one_form() {
        for superfluous in [&[0, 0, 0, 2, 0, 1][..], &[0, 0, 0, 1, 0], &[0, 0, 0, 3, 0, 0, 0x80]] {
            assert_eq!(Reader::new(superfluous).positive(64), Err(Malformed));
        }
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1, 1]).positive(1), Err(Malformed), "over the limit");
    }

    /// RFC 4251, section 5: the examples of `name-list`, and what is none.
    #[test]
    fn rfc4251_5_name_lists() {
        let cases: [(&[u8], Option<&[&str]>); 7] = [
            (b"\0\0\0\0", Some(&[])),
            (b"\0\0\0\x04zlib", Some(&["zlib"])),
            (b"\0\0\0\x09zlib,none", Some(&["zlib", "none"])),
            (b"\0\0\0\x05,zlib", None),
            (b"\0\0\0\x05zlib,", None),
            (b"\0\0\0\x05zli b", None),
            (b"\0\0\0\x04zl\0b", None),
        ];
        for (encoded, names) in cases {
            let read = Reader::new(encoded).names();
            assert_eq!(read.ok().map(|read| read.iter().collect::<Vec<_>>()).as_deref(), names);
        }
    }

    #[test]
    fn a_length_is_compared_with_what_is_there() {
        for encoded in [&b"\xff\xff\xff\xffx"[..], b"\0\0\0\x02x", b"\0\0\0", b""] {
            assert_eq!(Reader::new(encoded).string(), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u32, bytes: Vec<u8>, truth: bool, mut big: Vec<u8>) {
            big.insert(0, 1);
            let mut message = Vec::new();
            message.put_u32(number);
            message.put_string(&bytes);
            message.put_boolean(truth);
            message.put_mpint(&big);
            let mut reader = Reader::new(&message);
            prop_assert_eq!(reader.uint32(), Ok(number));
            prop_assert_eq!(reader.string(), Ok(&bytes[..]));
            prop_assert_eq!(reader.boolean(), Ok(truth));
            prop_assert_eq!(reader.positive(usize::MAX), Ok(&big[..]));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
