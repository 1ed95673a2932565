//! Makes the directory, and those above it that are missing.

use super::{Directory, Symlinks, system};
use crate::destination::DestinationError;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Component;

const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Directory {
    /// Unless links are allowed, one on the way is refused before anything is made behind it.
    pub(super) fn create(&self) -> Result<(), DestinationError> {
        let action = "create the directory";
        if self.symlinks == Symlinks::Insecure {
            use std::os::unix::fs::DirBuilderExt;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
            return made.map_err(|source| DestinationError::System {
                action,
                path: self.path.clone(),
                source,
            });
        }
        self.step_by_step().map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => self.opening(error),
            error => system(action, &self.path)(error),
        })
    }

    /// Each from a handle of the one above it.
    fn step_by_step(&self) -> Result<(), Errno> {
        let first = if self.path.is_absolute() { "/" } else { "." };
        let mut at = fs::open(first, HANDLE, Mode::empty())?;
        for component in self.path.components() {
            at = match component {
                Component::Normal(name) => enter(&at, name)?,
                Component::ParentDir => enter(&at, OsStr::new(".."))?,
                Component::Prefix(_) | Component::RootDir | Component::CurDir => continue,
            };
        }
        Ok(())
    }
}

fn enter(above: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let open = || match fs::openat(above, name, HANDLE, Mode::empty()) {
        Err(Errno::NOTDIR) if is_link(above, name) => Err(Errno::LOOP),
        opened => opened,
    };
    match open() {
        Err(Errno::NOENT) => match fs::mkdirat(above, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => open(),
            Err(error) => Err(error),
        },
        opened => opened,
    }
}

fn is_link(above: &OwnedFd, name: &OsStr) -> bool {
    let found = fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
}
