//! Packets: a length, a type, a request number, fields (sections 3 to 7).

use super::attributes::Attributes;

/// Types of packets.
pub(super) mod kind {
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const CLOSE: u8 = 4;
    pub(in super::super) const READ: u8 = 5;
    pub(in super::super) const WRITE: u8 = 6;
    pub(in super::super) const SETSTAT: u8 = 9;
    pub(in super::super) const FSETSTAT: u8 = 10;
    pub(in super::super) const OPENDIR: u8 = 11;
    pub(in super::super) const READDIR: u8 = 12;
    pub(in super::super) const MKDIR: u8 = 14;
    pub(in super::super) const STAT: u8 = 17;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
}

/// A packet in the making.
#[derive(Debug)]
pub(super) struct Output(Vec<u8>);

impl Output {
    /// Of this type; `capacity` is for what follows.
    pub(super) fn new(kind: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + 16);
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(kind);
        Self(bytes)
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    /// With its length in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// What is left of a packet that arrived; each method takes one field or gives nothing.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*value))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*value))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status { code: u32, words: String },
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<(Vec<u8>, Attributes)>),
    Attributes(Attributes),
}

impl Reply {
    /// Reads what follows the length: the request's number and the answer.
    pub(super) fn read(packet: &[u8]) -> Option<(u32, Self)> {
        let (kind, rest) = packet.split_first()?;
        let mut input = Input(rest);
        let id = input.u32()?;
        let reply = match *kind {
            kind::STATUS => {
                let code = input.u32()?;
                // Some servers leave the words out.
                let words = String::from_utf8_lossy(input.bytes().unwrap_or_default()).into_owned();
                Self::Status { code, words }
            }
            kind::HANDLE => Self::Handle(input.bytes()?.to_vec()),
            kind::DATA => Self::Data(input.bytes()?.to_vec()),
            kind::NAME => Self::Names(names(&mut input)?),
            kind::ATTRS => Self::Attributes(Attributes::read(&mut input)?),
            _ => return None,
        };
        Some((id, reply))
    }
}

/// The long names are for people who list directories by hand and are not kept.
fn names(input: &mut Input<'_>) -> Option<Vec<(Vec<u8>, Attributes)>> {
    let count = input.u32()?;
    let mut names = Vec::new();
    for _ in 0..count {
        let name = input.bytes()?.to_vec();
        input.bytes()?;
        names.push((name, Attributes::read(input)?));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::super::attributes::Attributes;
    use super::{Input, Output, Reply, kind};

    #[test]
    fn attributes_survive_the_wire() {
        for attributes in [
            Attributes::default(),
            Attributes { size: Some(u64::MAX), mode: Some(0o100_644), times: Some((1, 2)) },
            Attributes { mode: Some(0o040_755), ..Attributes::default() },
        ] {
            let mut output = Output::new(kind::ATTRS, 0);
            output.u32(7);
            attributes.write(&mut output);
            assert_eq!(Reply::read(&output.finish()[4..]), Some((7, Reply::Attributes(attributes))));
        }
    }

    #[test]
    fn no_prefix_of_an_answer_is_an_answer() {
        let mut output = Output::new(kind::NAME, 0);
        output.u32(1);
        output.u32(1);
        output.bytes(b"name");
        output.bytes(b"long name");
        Attributes { size: Some(1), mode: Some(2), times: Some((3, 4)) }.write(&mut output);
        let packet = output.finish();
        assert!(Reply::read(&packet[4..]).is_some());
        for end in 4..packet.len() {
            assert_eq!(Reply::read(&packet[4..end]), None, "{end}");
        }
        assert_eq!(Reply::read(&[kind::NAME, 0, 0, 0, 1, 255, 255, 255, 255]), None);
        assert_eq!(Input(&[255, 255, 255, 255, 1]).bytes(), None);
    }
}
