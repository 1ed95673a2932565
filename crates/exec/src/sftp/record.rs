//! What the SFTP server tells the node about each operation, for the audit log.
//!
//! Records go over a socket of their own, each with its length before it, and leave before the client hears how the
//! operation went. Nothing here may allocate more than a record may have, in either direction: the node does not trust
//! this process, which is the user's.

use crate::wire::{Reader, WireError, Writer};

/// The longest record, its length field not counted.
pub const MAX_RECORD: usize = 16 * 1024;
/// Longer paths are cut here; the kernel takes none that are longer (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// Longer explanations are cut here.
const MAX_ERROR: usize = 512;
const LENGTH: usize = 4;

const KIND_START: u8 = 1;
const KIND_OPERATION: u8 = 2;
const KIND_TOTALS: u8 = 3;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first one.
    Start {
        /// Where relative paths start.
        directory: Vec<u8>,
    },
    /// Something was done, or was not.
    Operation(Operation),
    /// How much was transferred so far. The last one is the sum.
    Totals(Totals),
}

/// One operation on files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What was asked for.
    pub action: Action,
    /// The path as the client wrote it, or as the handle was opened by; at most [`MAX_PATH`] bytes of it.
    pub path: Vec<u8>,
    /// The second path, of those actions that have one: the new name, or where a link leads.
    pub target: Option<Vec<u8>>,
    /// Why it was not done.
    pub error: Option<String>,
}

/// What is recorded. Reading and writing are counted, not told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    OpenToRead = 1,
    OpenToWrite = 2,
    Setstat = 3,
    Opendir = 4,
    Readdir = 5,
    Remove = 6,
    Mkdir = 7,
    Rmdir = 8,
    Rename = 9,
    Symlink = 10,
    Link = 11,
    /// Attributes set through an open handle, as clients do with every file that they have written.
    Fsetstat = 12,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::OpenToRead,
        Self::OpenToWrite,
        Self::Setstat,
        Self::Opendir,
        Self::Readdir,
        Self::Remove,
        Self::Mkdir,
        Self::Rmdir,
        Self::Rename,
        Self::Symlink,
        Self::Link,
        Self::Fsetstat,
    ];

    fn from_wire(value: u8) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|action| *action as u8 == value).ok_or(WireError::OutOfRange)
    }
}

/// What was transferred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of files that the client was sent.
    pub read: u64,
    /// Bytes that were written to files.
    pub written: u64,
    /// Files that were opened.
    pub opened: u64,
}

impl Record {
    /// Appends this record to others. What is too long is cut.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let mut out = Writer::default();
        match self {
            Self::Start { directory } => {
                out.u8(KIND_START);
                out.bytes(cut(directory));
            }
            Self::Operation(operation) => operation.encode(&mut out),
            Self::Totals(Totals { read, written, opened }) => {
                out.u8(KIND_TOTALS);
                out.u64(*read);
                out.u64(*written);
                out.u64(*opened);
            }
        }
        let body = out.into_bytes();
        to.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        to.extend_from_slice(&body);
    }

    /// Takes the first record off `bytes`, with how many bytes it took; `None` when it is not there yet as a whole. An
    /// error is a peer that is not this server.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, RecordError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_RECORD {
            return Err(RecordError);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let record = Self::decode_body(body).map_err(|_| RecordError)?;
        Ok(Some((record, LENGTH + length)))
    }

    fn decode_body(body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let record = match reader.u8()? {
            KIND_START => Self::Start { directory: path(&mut reader)? },
            KIND_OPERATION => Self::Operation(Operation::decode(&mut reader)?),
            KIND_TOTALS => {
                Self::Totals(Totals { read: reader.u64()?, written: reader.u64()?, opened: reader.u64()? })
            }
            _ => return Err(WireError::OutOfRange),
        };
        reader.finish()?;
        Ok(record)
    }
}

impl Operation {
    fn encode(&self, out: &mut Writer) {
        let Self { action, path, target, error } = self;
        out.u8(KIND_OPERATION);
        out.u8(*action as u8);
        out.u8(u8::from(target.is_some()) | u8::from(error.is_some()) << 1);
        out.bytes(cut(path));
        if let Some(target) = target {
            out.bytes(cut(target));
        }
        if let Some(error) = error {
            out.bytes(&error.as_bytes()[..error.floor_char_boundary(MAX_ERROR)]);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let action = Action::from_wire(reader.u8()?)?;
        let present = reader.u8()?;
        if present > 3 {
            return Err(WireError::OutOfRange);
        }
        let path_bytes = path(reader)?;
        let target = if present & 1 != 0 { Some(path(reader)?) } else { None };
        let error = if present & 2 != 0 { Some(reader.text()?.to_owned()) } else { None };
        Ok(Self { action, path: path_bytes, target, error })
    }
}

/// Bytes that are not records. Nothing behind them can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SFTP server's records cannot be read")]
pub struct RecordError;

/// As much of a path as is recorded.
pub(super) fn cut(path: &[u8]) -> &[u8] {
    &path[..path.len().min(MAX_PATH)]
}

fn path(reader: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    let path = reader.bytes()?;
    if path.len() > MAX_PATH { Err(WireError::OutOfRange) } else { Ok(path.to_vec()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn all() -> Vec<Record> {
        let mut records = vec![
            Record::Start { directory: b"/home/a".to_vec() },
            Record::Totals(Totals { read: 1, written: u64::MAX, opened: 3 }),
        ];
        for (action, number) in Action::ALL.into_iter().zip(0..) {
            records.push(Record::Operation(Operation {
                action,
                path: vec![b'p'; number],
                target: (number % 2 == 0).then(|| b"caf\xe9".to_vec()),
                error: (number % 3 == 0).then(|| "Permission denied".to_owned()),
            }));
        }
        records
    }

    #[test]
    fn records_come_back_one_behind_the_other() {
        let mut bytes = Vec::new();
        all().iter().for_each(|record| record.encode(&mut bytes));
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some((record, taken)) = Record::decode(rest).expect("records") {
            found.push(record);
            rest = &rest[taken..];
        }
        assert_eq!((found, rest.len()), (all(), 0));
    }

    #[test]
    fn a_part_of_a_record_is_waited_for() {
        for record in all() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for end in 0..bytes.len() {
                assert_eq!(Record::decode(&bytes[..end]), Ok(None));
            }
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_fits() {
        let operation = Operation {
            action: Action::Rename,
            path: vec![b'a'; 300_000],
            target: Some(vec![b'b'; 300_000]),
            error: Some("é".repeat(100_000)),
        };
        let mut bytes = Vec::new();
        Record::Operation(operation).encode(&mut bytes);
        assert!(bytes.len() <= LENGTH + MAX_RECORD);
        let Ok(Some((Record::Operation(read), _))) = Record::decode(&bytes) else { panic!("{bytes:?}") };
        assert_eq!((read.path.len(), read.target.map(|path| path.len())), (MAX_PATH, Some(MAX_PATH)));
        assert_eq!(read.error.map(|error| error.len()), Some(MAX_ERROR));
    }

    #[test]
    fn nonsense_is_refused_at_once() {
        for bytes in
            [&[0xff; 8][..], &[0, 0, 0, 1, 9], &[0, 0, 0, 0], &[0, 0, 0, 3, 2, 99, 0], &[0, 0, 0x40, 1]]
        {
            assert_eq!(Record::decode(bytes), Err(RecordError), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&bytes);
            let framed = [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], &bytes].concat();
            let _ = Record::decode(&framed);
        }
    }
}
