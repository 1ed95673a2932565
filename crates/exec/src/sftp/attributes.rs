//! File attributes (draft section 5): what a client wants set, and what a file has.

use rustix::fs::Stat;

use super::output::Output;
use crate::wire::{Reader, WireError};

const SIZE: u32 = 0x1;
const OWNER: u32 = 0x2;
const PERMISSIONS: u32 = 0x4;
const TIMES: u32 = 0x8;
const EXTENDED: u32 = 0x8000_0000;

/// Attributes of a file; each may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Length in bytes.
    pub size: Option<u64>,
    /// Numbers of user and group.
    pub owner: Option<(u32, u32)>,
    /// The mode; from a file including its type.
    pub permissions: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    /// Reads attributes; extended ones are skipped, since there are none that a server must know.
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = reader.u32()?;
        let has = |flag| flags & flag != 0;
        let mut attributes = Self::default();
        if has(SIZE) {
            attributes.size = Some(reader.u64()?);
        }
        if has(OWNER) {
            attributes.owner = Some((reader.u32()?, reader.u32()?));
        }
        if has(PERMISSIONS) {
            attributes.permissions = Some(reader.u32()?);
        }
        if has(TIMES) {
            attributes.times = Some((reader.u32()?, reader.u32()?));
        }
        if has(EXTENDED) {
            // Each takes at least eight bytes of the packet, so a false count ends with the packet.
            for _ in 0..reader.u32()? {
                reader.bytes()?;
                reader.bytes()?;
            }
        }
        Ok(attributes)
    }

    pub(super) fn write(&self, out: &mut Output) {
        let Self { size, owner, permissions, times } = self;
        let flag = |present, flag| if present { flag } else { 0 };
        out.u32(
            flag(size.is_some(), SIZE)
                | flag(owner.is_some(), OWNER)
                | flag(permissions.is_some(), PERMISSIONS)
                | flag(times.is_some(), TIMES),
        );
        if let Some(size) = size {
            out.u64(*size);
        }
        if let Some((user, group)) = owner {
            out.u32(*user);
            out.u32(*group);
        }
        if let Some(permissions) = permissions {
            out.u32(*permissions);
        }
        if let Some((accessed, modified)) = times {
            out.u32(*accessed);
            out.u32(*modified);
        }
    }
}

impl From<&Stat> for Attributes {
    fn from(stat: &Stat) -> Self {
        // Times before 1970 or after 2106 do not fit this version of the protocol.
        let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
        Self {
            size: Some(u64::try_from(stat.st_size).unwrap_or(0)),
            owner: Some((stat.st_uid, stat.st_gid)),
            permissions: Some(stat.st_mode),
            times: Some((seconds(stat.st_atime), seconds(stat.st_mtime))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn any_attributes_come_back(
            size in any::<Option<u64>>(),
            owner in any::<Option<(u32, u32)>>(),
            permissions in any::<Option<u32>>(),
            times in any::<Option<(u32, u32)>>(),
        ) {
            let attributes = Attributes { size, owner, permissions, times };
            let (mut out, mut bytes) = (Output::default(), Vec::new());
            attributes.write(&mut out);
            out.flush(&mut bytes).expect("memory");
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Attributes::parse(&mut reader), Ok(attributes));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_false_count_of_extended_attributes_ends_with_the_packet() {
        let bytes = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Attributes::parse(&mut Reader::new(&bytes)), Err(WireError::Truncated));
    }
}
