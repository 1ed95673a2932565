//! Attributes of files (section 5).

use super::packet::{Input, Output};

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// What is known of a file, or is to be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// The mode, with the kind of file.
    pub mode: Option<u32>,
    /// When it was read and when it was changed, in seconds since the epoch.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == DIRECTORY)
    }

    /// Whether it is a plain file; a server that does not say is believed to mean one.
    pub fn is_file(&self) -> bool {
        self.mode.is_none_or(|mode| mode & KIND == REGULAR || mode & KIND == 0)
    }

    /// Read, write and execute for owner, group and others; never set-uid, set-gid or sticky.
    pub fn permissions(&self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o777)
    }

    pub(super) fn write(&self, output: &mut Output) {
        let Self { size, mode, times } = *self;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        output.u32(
            flag(size.is_some(), SIZE) | flag(mode.is_some(), PERMISSIONS) | flag(times.is_some(), TIMES),
        );
        if let Some(size) = size {
            output.u64(size);
        }
        if let Some(mode) = mode {
            output.u32(mode);
        }
        if let Some((accessed, modified)) = times {
            output.u32(accessed);
            output.u32(modified);
        }
    }

    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        let flags = input.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let size = if has(SIZE) { Some(input.u64()?) } else { None };
        if has(OWNER) {
            input.u64()?;
        }
        let mode = if has(PERMISSIONS) { Some(input.u32()?) } else { None };
        let times = if has(TIMES) { Some((input.u32()?, input.u32()?)) } else { None };
        if has(EXTENDED) {
            for _ in 0..input.u32()? {
                input.bytes()?;
                input.bytes()?;
            }
        }
        Some(Self { size, mode, times })
    }
}
