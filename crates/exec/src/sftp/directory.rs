//! Listing directories.

use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, statat};

use super::attributes::Attributes;
use super::longname::{Owners, longname};
use super::output::Output;
use super::reply::{Reply, name};
use super::status::Refusal;

/// A reply is sent once its names take this many bytes; the largest single one adds less than a kilobyte.
const ENOUGH: usize = 64 * 1024;

/// An open directory and how far it was read.
pub(super) struct Directory(Dir);

impl Directory {
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>, Refusal> {
        Ok(self.0.fd()?)
    }
}

pub(super) fn open(path: &[u8]) -> Result<Directory, Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Directory(Dir::new(rustix::fs::open(path, flags, Mode::empty())?)?))
}

/// The next names, `.` and `..` included as everywhere; none left is the end.
pub(super) fn read(directory: &mut Directory, owners: &mut Owners, reply: Reply<'_>) -> Result<(), Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let enough = reply.out.len() + ENOUGH;
    reply.names(|out| if out.len() < enough { next(directory, owners, now, out) } else { Ok(false) })
}

fn next(directory: &mut Directory, owners: &mut Owners, now: u64, out: &mut Output) -> Result<bool, Refusal> {
    while let Some(entry) = directory.0.read() {
        let entry = entry?;
        // Removed since, or not to be looked at: a name without attributes would make clients guess.
        let Ok(stat) = statat(directory.0.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let file_name = entry.file_name().to_bytes();
        name(out, file_name, &longname(&stat, file_name, owners, now), &Attributes::from(&stat));
        return Ok(true);
    }
    Ok(false)
}
