//! The SSH wire format (RFC 4251, section 5), read without copying, without recursion and within bounds.

use crate::Refusal;

/// Walks over a byte string that somebody else sent.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Refusal> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(Refusal::Malformed(what))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Refusal> {
        let (value, rest) = self.rest.split_first_chunk().ok_or(Refusal::Malformed(what))?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*value))
    }

    /// A string of any bytes.
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Refusal> {
        let length = usize::try_from(self.u32(what)?).map_err(|_| Refusal::Malformed(what))?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(Refusal::Malformed(what))?;
        self.rest = rest;
        Ok(value)
    }

    /// A string that is text.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Refusal> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Refusal::Malformed(what))
    }

    /// A positive multiple-precision integer in its shortest form, without the sign byte.
    pub(crate) fn positive(&mut self, what: &'static str) -> Result<&'a [u8], Refusal> {
        match self.bytes(what)? {
            [0, next, ..] if next & 0x80 == 0 => Err(Refusal::Malformed(what)),
            [0, rest @ ..] if !rest.is_empty() => Ok(rest),
            [first, ..] if first & 0x80 != 0 => Err(Refusal::Malformed(what)),
            [] | [0] => Err(Refusal::Malformed(what)),
            number => Ok(number),
        }
    }

    pub(crate) fn finish(&self, what: &'static str) -> Result<(), Refusal> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Malformed(what)),
        }
    }
}

/// Appends a string with its length.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("strings of certificates are far shorter than 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        assert!(Reader::new(&[0, 0, 0, 5, 1]).bytes("x").is_err());
        assert!(Reader::new(&[0xff; 7]).bytes("x").is_err());
        assert!(Reader::new(&[1, 2, 3]).u32("x").is_err());
        assert!(Reader::new(&[1; 7]).u64("x").is_err());
    }

    #[test]
    fn integers_have_one_form() {
        let read = |body: &[u8]| {
            let mut wire = Vec::new();
            put_string(&mut wire, body);
            Reader::new(&wire).positive("x").map(<[u8]>::to_vec)
        };
        assert_eq!(read(&[0x7f]), Ok(vec![0x7f]));
        assert_eq!(read(&[0, 0x80]), Ok(vec![0x80]));
        for wrong in [&[][..], &[0], &[0x80], &[0, 0x7f]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
