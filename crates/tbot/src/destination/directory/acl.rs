//! POSIX access control lists (acl(5)) as the kernel keeps them: readers beside the owner, who may read and no more.
//!
//! The format is that of the attribute `system.posix_acl_access` (linux/posix_acl_xattr.h): version 2, then entries of tag,
//! permissions and id, ordered by tag and id, little-endian.

use crate::accounts;
use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;
use std::os::fd::AsFd;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
/// More entries than anybody has.
const LARGEST: usize = 64 * 1024;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whether readers are let in by access control lists (fact sheet, section 2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acls {
    /// No.
    Off,
    /// Where the file system can.
    #[default]
    Try,
    /// Yes; an error where it cannot.
    Required,
}

/// Who may read, as configured: by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// A user.
    User(String),
    /// A group.
    Group(String),
}

/// Who may read, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A user.
    User(u32),
    /// A group.
    Group(u32),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid {uid}"),
            Self::Group(gid) => write!(f, "gid {gid}"),
        }
    }
}

impl Reader {
    /// Its number; by name it must exist.
    pub fn id(&self) -> Result<Id, String> {
        match self {
            Self::User(name) => accounts::user(name).map(|account| Id::User(account.uid)),
            Self::Group(name) => accounts::group(name).map(Id::Group),
        }
    }
}

/// What a list is for: in a directory, names may be looked up too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A directory.
    Directory,
    /// A file.
    File,
}

/// A whole list: the owner as ever, these readers, nobody else. `writer` is a user beside the owner who may write.
pub fn list(on: On, readers: &[Id], writer: Option<u32>) -> Vec<u8> {
    let (all, read) = if on == On::Directory { (7, 5) } else { (6, 4) };
    let mut entries = vec![(USER_OBJ, NO_ID, all), (GROUP_OBJ, NO_ID, 0), (OTHER, NO_ID, 0)];
    entries.extend(writer.map(|uid| (USER, uid, all)));
    entries.extend(readers.iter().filter(|id| writer.map(Id::User) != Some(**id)).map(|id| match id {
        Id::User(uid) => (USER, *uid, read),
        Id::Group(gid) => (GROUP, *gid, read),
    }));
    entries.push((MASK, NO_ID, if writer.is_some() { all } else { read }));
    entries.sort_unstable();
    entries.dedup();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&u16::to_le_bytes(permissions));
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// The readers in a list: those it names who may not write.
pub fn readers(list: &[u8]) -> Vec<Id> {
    let entries = list.get(4..).unwrap_or_default().as_chunks::<8>().0.iter();
    let reader = |[tag, tag_more, permissions, _, id @ ..]: &[u8; 8]| {
        let (tag, id) = (u16::from_le_bytes([*tag, *tag_more]), u32::from_le_bytes(*id));
        match tag {
            _ if permissions & 0o6 != 0o4 => None,
            USER => Some(Id::User(id)),
            GROUP => Some(Id::Group(id)),
            _ => None,
        }
    };
    entries.filter_map(reader).collect()
}

/// Makes `list` the one of an open file or directory. Gives whether it was another one before.
pub fn ensure(file: impl AsFd, on: On, list: &[u8]) -> Result<bool, Errno> {
    if on == On::Directory {
        // What is made in it must not inherit anything.
        match fremovexattr(&file, DEFAULT) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    if present(&file)?.as_deref() == Some(list) {
        return Ok(false);
    }
    fsetxattr(&file, ACCESS, list, XattrFlags::empty())?;
    // The kernel keeps what it was given, or something is wrong with the file system.
    match present(&file)?.as_deref() == Some(list) {
        true => Ok(true),
        false => Err(Errno::OPNOTSUPP),
    }
}

/// The list of an open file; `None` when its mode says everything.
pub fn present(file: impl AsFd) -> Result<Option<Vec<u8>>, Errno> {
    let mut bytes = vec![0; LARGEST];
    match fgetxattr(file, ACCESS, bytes.as_mut_slice()) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(Some(bytes))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{Id, On, ensure, list, present};
    use std::fs::File;

    fn getfacl(path: &std::path::Path) -> Option<String> {
        let told = std::process::Command::new("getfacl").args(["-nc", "-p"]).arg(path).output();
        let Ok(told) = told else {
            eprintln!("SKIPPED: getfacl is not installed; `make test` installs it");
            return None;
        };
        Some(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    }

    #[test]
    fn the_system_reads_the_lists_as_they_are_meant() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("file");
        let file = File::create(&path).expect("created");
        let readers = [Id::Group(77), Id::User(4_123_456), Id::User(12), Id::User(12)];
        assert_eq!(ensure(&file, On::File, &list(On::File, &readers, None)), Ok(true));
        assert_eq!(
            ensure(&file, On::File, &list(On::File, &readers, None)),
            Ok(false),
            "it is there already"
        );
        let expected =
            "user::rw-\nuser:12:r--\nuser:4123456:r--\ngroup::---\ngroup:77:r--\nmask::r--\nother::---";
        if let Some(told) = getfacl(&path) {
            assert_eq!(told, expected);
        }
        let directory = File::open(scratch.path()).expect("opened");
        let wanted = list(On::Directory, &[Id::User(12)], Some(13));
        assert_eq!(ensure(&directory, On::Directory, &wanted), Ok(true));
        if let Some(told) = getfacl(scratch.path()) {
            assert_eq!(told, "user::rwx\nuser:12:r-x\nuser:13:rwx\ngroup::---\nmask::rwx\nother::---");
        }
        assert_eq!(present(&directory), Ok(Some(wanted)));
    }
}
