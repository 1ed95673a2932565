//! Requests on open files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat as stat_fd, fstatfs,
    ftruncate, futimens,
};

use rustix::io::Errno;

use super::MAX_DATA;
use super::attributes::Attributes;
use super::handles::Handle;
use super::protocol::open::{APPEND, CREATE, EXCLUSIVE, READ, TRUNCATE, WRITE};
use super::reply::Reply;
use super::status::Refusal;
use crate::sys::process;

/// `PIPEFS_MAGIC` of `linux/magic.h`.
const PIPE_FILE_SYSTEM: u64 = 0x5049_5045;
/// The bits of a mode that a client can set.
const MODE_BITS: u32 = 0o7777;
/// What a new file may be at most, before the umask, when the client does not say.
const DEFAULT_MODE: u32 = 0o666;

pub(super) fn open(path: &[u8], flags: u32, attributes: &Attributes) -> Result<File, Refusal> {
    let mode = mode(attributes.permissions.unwrap_or(DEFAULT_MODE));
    let file = File::from(rustix::fs::open(path, open_flags(flags), mode)?);
    if is_anonymous_pipe(&file)? { Err(Errno::ACCESS.into()) } else { Ok(file) }
}

/// Such as this process's own input and output, by their names in `/proc`: whoever holds them open as well never sees the
/// other side go away.
fn is_anonymous_pipe(file: &File) -> Result<bool, Errno> {
    let is_pipe = FileType::from_raw_mode(stat_fd(file)?.st_mode) == FileType::Fifo;
    Ok(is_pipe && u64::try_from(fstatfs(file)?.f_type).is_ok_and(|kind| kind == PIPE_FILE_SYSTEM))
}

/// Never blocking: a FIFO or a device that waits for someone must not hold up the requests behind this one.
fn open_flags(flags: u32) -> OFlags {
    let has = |flag| flags & flag != 0;
    let mut open = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    open |= match (has(READ), has(WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    for (asked, flag) in [
        (APPEND, OFlags::APPEND),
        (CREATE, OFlags::CREATE),
        (TRUNCATE, OFlags::TRUNC),
        (EXCLUSIVE, OFlags::EXCL),
    ] {
        open.set(flag, has(asked));
    }
    open
}

pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & MODE_BITS)
}

/// Some file systems report only here that what was written is lost.
pub(super) fn close(handle: Handle) -> Result<(), Refusal> {
    match handle {
        Handle::File(file) => Ok(process::close(file.into())?),
        Handle::Directory(_) => Ok(()),
    }
}

/// Reads what is there at once, up to the most that a reply can carry, and says how much that was.
pub(super) fn read(file: &File, offset: u64, length: u32, reply: Reply<'_>) -> Result<usize, Refusal> {
    let length = usize::try_from(length).unwrap_or(MAX_DATA).min(MAX_DATA);
    reply.data(length, |buffer| {
        loop {
            match file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    })
}

/// Writes everything. A file that was opened to append ignores the offset, as the kernel defines it.
pub(super) fn write(file: &File, offset: u64, data: &[u8]) -> Result<(), Refusal> {
    Ok(file.write_all_at(data, offset)?)
}

pub(super) fn sync(file: &File) -> Result<(), Refusal> {
    Ok(file.sync_all()?)
}

pub(super) fn fstat(handle: &Handle) -> Result<Attributes, Refusal> {
    Ok(Attributes::from(&stat_fd(descriptor(handle)?)?))
}

/// Sets what was asked for, in an order in which nothing undoes what was set before. All are tried; the first failure
/// is the answer.
pub(super) fn fsetstat(handle: &Handle, attributes: &Attributes) -> Result<(), Refusal> {
    set(descriptor(handle)?, attributes)
}

/// User and group as `chown(2)` has them: the largest number means that this one stays as it is.
pub(super) fn owner((user, group): (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    let is_one = |number: &u32| *number != u32::MAX;
    (Some(user).filter(is_one).map(Uid::from_raw), Some(group).filter(is_one).map(Gid::from_raw))
}

pub(super) fn set(descriptor: BorrowedFd<'_>, attributes: &Attributes) -> Result<(), Refusal> {
    let Attributes { size, owner, permissions, times } = attributes;
    let outcomes = [
        size.map(|size| ftruncate(descriptor, size)),
        // Before the mode, from which a change of owner takes bits away.
        owner.map(self::owner).map(|(user, group)| fchown(descriptor, user, group)),
        permissions.map(|bits| fchmod(descriptor, mode(bits))),
        times.map(|times| futimens(descriptor, &timestamps(times))),
    ];
    Ok(outcomes.into_iter().flatten().collect::<Result<(), _>>()?)
}

pub(super) fn timestamps((accessed, modified): (u32, u32)) -> Timestamps {
    let at = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Timestamps { last_access: at(accessed), last_modification: at(modified) }
}

pub(super) fn descriptor(handle: &Handle) -> Result<BorrowedFd<'_>, Refusal> {
    match handle {
        Handle::File(file) => Ok(file.as_fd()),
        Handle::Directory(directory) => directory.descriptor(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Gid, Uid, owner};

    #[test]
    fn the_largest_number_leaves_an_owner_as_it_is() {
        assert_eq!(owner((u32::MAX, 7)), (None, Some(Gid::from_raw(7))));
        assert_eq!(owner((0, u32::MAX)), (Some(Uid::ROOT), None));
    }
}
