//! Distinguished encoding (X.690): tags of one byte, definite and shortest lengths, nothing else.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// Constructed, context-specific, 0 and 1.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One value.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// Without tag and length.
    pub(super) content: &'a [u8],
    /// With them.
    pub(super) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.0.split_first()?;
        // All bits set: the tag goes on in the next byte.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // As many bytes of length as nothing that is read here needs more of. 0x80 would be: until an end comes.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
                let is_shortest = bytes.first() != Some(&0) && length > 0x7f;
                is_shortest.then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag: *tag, content, whole })
    }

    /// The next value, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next value, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<Element<'a>>> {
        match self.0.first() {
            Some(next) if *next == tag => self.take(tag).map(Some),
            _ => Some(None),
        }
    }

    /// What is left, up to where it cannot be read.
    pub(super) fn rest(mut self) -> impl Iterator<Item = Element<'a>> {
        std::iter::from_fn(move || self.any())
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The one value in these bytes, of this tag.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    let element = reader.take(tag)?;
    reader.end()?;
    Some(Reader::new(element.content))
}

/// All the values in these bytes, `most` of them.
pub(super) fn all(bytes: &[u8], most: usize) -> Option<Vec<Element<'_>>> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while reader.end().is_none() {
        if found.len() == most {
            return None;
        }
        found.push(reader.any()?);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::{Reader, all};

    #[test]
    fn only_the_one_encoding_is_read() {
        let read = |bytes: &[u8]| Reader::new(bytes).any().map(|element| element.content.to_vec());
        assert_eq!(read(&[4, 1, 7, 9]), Some(vec![7]));
        assert_eq!(read(&[4, 0]), Some(vec![]));
        let long = [&[4, 0x81, 0x80][..], &[1; 0x80]].concat();
        assert_eq!(read(&long), Some(vec![1; 0x80]));
        for wrong in [
            &[][..],
            &[4],
            &[4, 2, 7],
            // Until an end comes.
            &[0x30, 0x80, 4, 1, 7, 0, 0],
            // Longer than they need be.
            &[4, 0x81, 1, 7],
            &[4, 0x82, 0, 0x80],
            // More than anything has.
            &[4, 0x84, 0, 0, 0, 1, 7],
            &[4, 0xff, 1],
            &[0x1f, 1, 1, 7],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(all(&[4, 0, 4, 0], 2).is_some() && all(&[4, 0, 4, 0], 1).is_none());
    }
}
