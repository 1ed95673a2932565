//! Requests on paths. Relative ones start at the user's home, which is this process's working directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, OFlags, RenameFlags, chmod, chown, chownat, linkat, renameat_with, unlink,
    utimensat,
};
use rustix::io::Errno;

use super::attributes::Attributes;
use super::files;
use super::status::Refusal;
use crate::sys;

/// What a new directory may be at most, before the umask, when the client does not say.
const DEFAULT_MODE: u32 = 0o777;
/// `PATH_MAX`.
const LONGEST: usize = 4096;
/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;
/// Enough to set attributes of a file; without blocking on, or taking as terminal, whatever it is.
const QUIET: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

pub(super) fn stat(path: &[u8]) -> Result<Attributes, Refusal> {
    Ok(Attributes::from(&rustix::fs::stat(path)?))
}

pub(super) fn lstat(path: &[u8]) -> Result<Attributes, Refusal> {
    Ok(Attributes::from(&rustix::fs::lstat(path)?))
}

/// Sets attributes of what the path leads to. All are tried; the first failure is the answer.
pub(super) fn setstat(path: &[u8], attributes: &Attributes) -> Result<(), Refusal> {
    let Attributes { size, owner, permissions, times } = attributes;
    let outcomes = [
        size.map(|size| {
            // By path, which waits for nobody, whatever is there.
            sys::files::truncate(path, size)
        }),
        owner.map(files::owner).map(|(user, group)| chown(path, user, group)),
        permissions.map(|bits| chmod(path, files::mode(bits))),
        times.map(|times| utimensat(CWD, path, &files::timestamps(times), AtFlags::empty())),
    ];
    Ok(outcomes.into_iter().flatten().collect::<Result<(), _>>()?)
}

/// Sets attributes of what is at the path itself, be it a link.
pub(super) fn lsetstat(path: &[u8], attributes: &Attributes) -> Result<(), Refusal> {
    let Attributes { size, owner, permissions, times } = attributes;
    if size.is_some() {
        return Err(Errno::INVAL.into());
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let outcomes = [
        owner.map(files::owner).map(|(user, group)| chownat(CWD, path, user, group, flags)),
        permissions.map(|bits| chmod_here(path, bits)),
        times.map(|times| utimensat(CWD, path, &files::timestamps(times), flags)),
    ];
    Ok(outcomes.into_iter().flatten().collect::<Result<(), _>>()?)
}

/// Linux has no mode on links. Kernels before 6.6 have no call for this; through a descriptor it cannot be misled.
fn chmod_here(path: &[u8], bits: u32) -> Result<(), Errno> {
    match sys::files::chmod_no_follow(path, files::mode(bits).as_raw_mode()) {
        Err(Errno::NOSYS) => {}
        outcome => return outcome,
    }
    match FileType::from_raw_mode(rustix::fs::lstat(path)?.st_mode) {
        FileType::RegularFile | FileType::Directory => {}
        _ => return Err(Errno::OPNOTSUPP),
    }
    let open = |access| rustix::fs::open(path, access | QUIET | OFlags::NOFOLLOW, files::mode(0));
    let file = open(OFlags::RDONLY).or_else(|_| open(OFlags::WRONLY))?;
    rustix::fs::fchmod(file.as_fd(), files::mode(bits))
}

pub(super) fn remove(path: &[u8]) -> Result<(), Refusal> {
    Ok(unlink(path)?)
}

pub(super) fn mkdir(path: &[u8], attributes: &Attributes) -> Result<(), Refusal> {
    Ok(rustix::fs::mkdir(path, files::mode(attributes.permissions.unwrap_or(DEFAULT_MODE)))?)
}

pub(super) fn rmdir(path: &[u8]) -> Result<(), Refusal> {
    Ok(rustix::fs::rmdir(path)?)
}

/// The protocol's rename: never over something that exists.
pub(super) fn rename(from: &[u8], to: &[u8]) -> Result<(), Refusal> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without that flag.
        Err(Errno::INVAL | Errno::NOSYS) => Ok(rename_in_two_steps(from, to)?),
        outcome => Ok(outcome?),
    }
}

/// A second name that must not exist, then one name less. Where there are no hard links, a look before the leap.
fn rename_in_two_steps(from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => return unlink(from),
        Err(error @ (Errno::EXIST | Errno::NOENT)) => return Err(error),
        Err(_) => {}
    }
    match rustix::fs::lstat(to) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// POSIX's rename: takes the place of what exists.
pub(super) fn replace(from: &[u8], to: &[u8]) -> Result<(), Refusal> {
    Ok(rustix::fs::rename(from, to)?)
}

pub(super) fn readlink(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    Ok(rustix::fs::readlink(path, Vec::new())?.into_bytes())
}

pub(super) fn symlink(target: &[u8], link: &[u8]) -> Result<(), Refusal> {
    Ok(rustix::fs::symlink(target, link)?)
}

pub(super) fn hardlink(from: &[u8], to: &[u8]) -> Result<(), Refusal> {
    Ok(linkat(CWD, from, CWD, to, AtFlags::empty())?)
}

/// The absolute path without links, `.` and `..`. The last name need not exist: clients ask before they create.
pub(super) fn resolve(path: &[u8]) -> Result<Vec<u8>, Refusal> {
    if path.len() >= LONGEST {
        return Err(Errno::NAMETOOLONG.into());
    }
    let path = Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
    let resolved = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => resolve_missing(path.to_owned())?,
        outcome => outcome?,
    };
    Ok(resolved.into_os_string().into_vec())
}

/// The same of a path whose last name does not exist, or is a link to one that does not.
fn resolve_missing(mut path: PathBuf) -> io::Result<PathBuf> {
    for _ in 0..MOST_LINKS {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Errno::NOENT.into());
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize()?;
        match parent.join(name).read_link() {
            Ok(target) => path = parent.join(target),
            Err(_) => return Ok(parent.join(name)),
        }
    }
    Err(Errno::LOOP.into())
}
