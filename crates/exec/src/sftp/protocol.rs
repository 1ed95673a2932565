//! Requests as a client writes them. Total: any bytes are a request, or malformed. Nothing is copied and nothing touches
//! the file system here.
//!
//! Bytes after the last known field are ignored, as OpenSSH's server does: clients append fields of later versions.

use super::attributes::Attributes;
use crate::wire::{Reader, WireError};

/// The version that is spoken.
pub const VERSION: u32 = 3;

/// The most users, and groups, whose names are told in one reply.
const MOST_IDS: usize = 1024;

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `SSH_FXP_INIT`: the first packet, the only one without an id.
    Init {
        /// The highest version that the client speaks.
        version: u32,
    },
    /// Everything else.
    Request {
        /// The number that the reply carries.
        id: u32,
        /// What to do.
        request: Request<'a>,
    },
}

/// A request. Paths and handles are bytes as they came; paths have no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the protocol draft, by its names")]
pub enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Lstat {
        path: &'a [u8],
    },
    Fstat {
        handle: &'a [u8],
    },
    Setstat {
        path: &'a [u8],
        attributes: Attributes,
    },
    Fsetstat {
        handle: &'a [u8],
        attributes: Attributes,
    },
    Opendir {
        path: &'a [u8],
    },
    Readdir {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    Mkdir {
        path: &'a [u8],
        attributes: Attributes,
    },
    Rmdir {
        path: &'a [u8],
    },
    Realpath {
        path: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    Readlink {
        path: &'a [u8],
    },
    Symlink {
        target: &'a [u8],
        link: &'a [u8],
    },
    PosixRename {
        from: &'a [u8],
        to: &'a [u8],
    },
    Statvfs {
        path: &'a [u8],
    },
    Fstatvfs {
        handle: &'a [u8],
    },
    Hardlink {
        from: &'a [u8],
        to: &'a [u8],
    },
    Fsync {
        handle: &'a [u8],
    },
    Lsetstat {
        path: &'a [u8],
        attributes: Attributes,
    },
    Limits,
    ExpandPath {
        path: &'a [u8],
    },
    CopyData {
        from: &'a [u8],
        from_offset: u64,
        /// 0 is all until the end.
        length: u64,
        to: &'a [u8],
        to_offset: u64,
    },
    HomeDirectory {
        user: &'a [u8],
    },
    /// Numbers of 32 bits, one behind the other.
    UsersGroupsById {
        users: &'a [u8],
        groups: &'a [u8],
    },
    /// A type or an extension that this server does not know.
    Unknown,
}

/// Why a packet is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Without an id there is nobody to answer: the connection is over.
    #[error("a packet too short to have a request id")]
    NoId,
    /// Answered with "bad message"; the framing still holds.
    #[error("request {id} is malformed")]
    Malformed {
        /// The number that the reply carries.
        id: u32,
    },
}

/// Reads one packet, without its length field.
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, ParseError> {
    let mut reader = Reader::new(packet);
    let kind = reader.u8().map_err(|_| ParseError::NoId)?;
    let id = reader.u32().map_err(|_| ParseError::NoId)?;
    if kind == 1 {
        return Ok(Packet::Init { version: id });
    }
    let request = parse_request(kind, &mut reader).map_err(|_| ParseError::Malformed { id })?;
    Ok(Packet::Request { id, request })
}

/// The numbers are those of the draft's section 3. A tuple or struct literal evaluates in the order it is written, which
/// is the order on the wire.
fn parse_request<'a>(kind: u8, reader: &mut Reader<'a>) -> Result<Request<'a>, WireError> {
    Ok(match kind {
        3 => Request::Open {
            path: path(reader)?,
            flags: reader.u32()?,
            attributes: Attributes::parse(reader)?,
        },
        4 => Request::Close { handle: reader.bytes()? },
        5 => Request::Read { handle: reader.bytes()?, offset: reader.u64()?, length: reader.u32()? },
        6 => Request::Write { handle: reader.bytes()?, offset: reader.u64()?, data: reader.bytes()? },
        7 => Request::Lstat { path: path(reader)? },
        8 => Request::Fstat { handle: reader.bytes()? },
        9 => Request::Setstat { path: path(reader)?, attributes: Attributes::parse(reader)? },
        10 => Request::Fsetstat { handle: reader.bytes()?, attributes: Attributes::parse(reader)? },
        11 => Request::Opendir { path: path(reader)? },
        12 => Request::Readdir { handle: reader.bytes()? },
        13 => Request::Remove { path: path(reader)? },
        14 => Request::Mkdir { path: path(reader)?, attributes: Attributes::parse(reader)? },
        15 => Request::Rmdir { path: path(reader)? },
        16 => Request::Realpath { path: path(reader)? },
        17 => Request::Stat { path: path(reader)? },
        18 => Request::Rename { from: path(reader)?, to: path(reader)? },
        19 => Request::Readlink { path: path(reader)? },
        // The draft has these the other way round; OpenSSH's order is what everyone speaks.
        20 => Request::Symlink { target: path(reader)?, link: path(reader)? },
        200 => parse_extended(reader.bytes()?, reader)?,
        _ => Request::Unknown,
    })
}

/// OpenSSH's `PROTOCOL` file, section 4.
fn parse_extended<'a>(name: &[u8], reader: &mut Reader<'a>) -> Result<Request<'a>, WireError> {
    Ok(match name {
        b"posix-rename@openssh.com" => Request::PosixRename { from: path(reader)?, to: path(reader)? },
        b"statvfs@openssh.com" => Request::Statvfs { path: path(reader)? },
        b"fstatvfs@openssh.com" => Request::Fstatvfs { handle: reader.bytes()? },
        b"hardlink@openssh.com" => Request::Hardlink { from: path(reader)?, to: path(reader)? },
        b"fsync@openssh.com" => Request::Fsync { handle: reader.bytes()? },
        b"lsetstat@openssh.com" => {
            Request::Lsetstat { path: path(reader)?, attributes: Attributes::parse(reader)? }
        }
        b"limits@openssh.com" => Request::Limits,
        b"expand-path@openssh.com" => Request::ExpandPath { path: path(reader)? },
        b"copy-data" => Request::CopyData {
            from: reader.bytes()?,
            from_offset: reader.u64()?,
            length: reader.u64()?,
            to: reader.bytes()?,
            to_offset: reader.u64()?,
        },
        b"home-directory" => Request::HomeDirectory { user: path(reader)? },
        b"users-groups-by-id@openssh.com" => {
            Request::UsersGroupsById { users: numbers(reader)?, groups: numbers(reader)? }
        }
        _ => Request::Unknown,
    })
}

/// The extensions that are announced, with their versions.
pub(super) const EXTENSIONS: [(&str, &str); 11] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
    ("home-directory", "1"),
    ("users-groups-by-id@openssh.com", "1"),
];

/// Whether a file that is opened with these flags (draft section 6.3) can be another one afterwards.
pub fn changes(flags: u32) -> bool {
    flags & (open::WRITE | open::APPEND | open::CREATE | open::TRUNCATE) != 0
}

/// The flags of an open request (draft section 6.3).
pub mod open {
    /// To read.
    pub const READ: u32 = 0x1;
    /// To write.
    pub const WRITE: u32 = 0x2;
    /// Every write at the end.
    pub const APPEND: u32 = 0x4;
    /// Makes the file if there is none.
    pub const CREATE: u32 = 0x8;
    /// Empties it.
    pub const TRUNCATE: u32 = 0x10;
    /// Fails if there is one.
    pub const EXCLUSIVE: u32 = 0x20;
}

/// Whole numbers of 32 bits, not more than can be answered in one packet.
fn numbers<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let numbers = reader.bytes()?;
    let whole = numbers.len().is_multiple_of(size_of::<u32>());
    if whole && numbers.len() <= MOST_IDS * size_of::<u32>() {
        Ok(numbers)
    } else {
        Err(WireError::OutOfRange)
    }
}

/// A path. One with a NUL would name another file to the kernel than to whoever wrote it down.
fn path<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let path = reader.bytes()?;
    if path.contains(&0) { Err(WireError::OutOfRange) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::wire::Writer;

    fn packet(kind: u8, fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u8(kind);
        writer.u32(77);
        fields(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn every_extension_that_is_announced_is_understood() {
        for (name, _) in EXTENSIONS {
            let bytes = packet(200, |fields| {
                fields.bytes(name.as_bytes());
                fields.bytes(b"four");
                fields.bytes(b"\0\0\0\0");
            });
            let parsed = parse(&bytes);
            assert!(
                !matches!(parsed, Ok(Packet::Request { request: Request::Unknown, .. })),
                "{name}: {parsed:?}"
            );
        }
    }

    #[test]
    fn malformed_requests_keep_their_id() {
        let short = packet(5, |fields| fields.bytes(b"handle"));
        assert_eq!(parse(&short), Err(ParseError::Malformed { id: 77 }));
        let nul = packet(13, |fields| fields.bytes(b"a\0b"));
        assert_eq!(parse(&nul), Err(ParseError::Malformed { id: 77 }));
        assert_eq!(parse(&[13, 0, 0, 0]), Err(ParseError::NoId));
        assert_eq!(parse(&[]), Err(ParseError::NoId));
        assert_eq!(parse(&packet(99, |_| ())), Ok(Packet::Request { id: 77, request: Request::Unknown }));
    }

    #[test]
    fn later_versions_fields_are_ignored() {
        let bytes = packet(16, |fields| {
            fields.bytes(b".");
            fields.u8(1);
        });
        assert_eq!(parse(&bytes), Ok(Packet::Request { id: 77, request: Request::Realpath { path: b"." } }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_request_of_a_known_type_panics(kind in 1u8..=21, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&packet(kind, |fields| bytes.iter().for_each(|byte| fields.u8(*byte))));
            let _ = parse(&packet(kind, |fields| { fields.bytes(&bytes); fields.bytes(&bytes); }));
        }
    }
}
