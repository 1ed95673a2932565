//! Looks at a directory without changing anything: whether credentials could be written, and how much room there is.

use super::acl::Acls;
use super::{CURRENT, Directory, exposure, system};
use crate::destination::DestinationError;
use rustix::fs::{self, Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether it is there; if not, it can be made.
    pub exists: bool,
    /// Whether a set of files is in it.
    pub written: bool,
    /// Bytes that may still be written.
    pub free: u64,
    /// Whether more files can be made.
    pub free_files: bool,
}

impl Directory {
    /// Whether files of these names could be written here; nothing is changed.
    pub fn inspect(&self, names: &[&str]) -> Result<Found, DestinationError> {
        let root = match self.open_existing() {
            Ok(root) => root,
            Err(Errno::NOENT) => return self.inspect_above(),
            Err(error) => return Err(self.opening(error)),
        };
        exposure::refuse(&root, &self.path, self.acls != Acls::Off)?;
        fs::accessat(&root, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(system("write to", &self.path))?;
        for name in names {
            let found = fs::statat(&root, *name, AtFlags::SYMLINK_NOFOLLOW);
            if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Symlink) {
                return Err(DestinationError::Foreign { path: self.path.join(name) });
            }
        }
        let written = fs::statat(&root, CURRENT, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let room = fs::fstatvfs(&root).map_err(system("look at", &self.path))?;
        Ok(Found { exists: true, written, ..found(&room) })
    }

    /// Whether each file of the set in force is to be found by its name.
    pub fn is_whole(&self) -> bool {
        let Ok(root) = self.open_existing() else { return false };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(current) = fs::openat(&root, CURRENT, flags, Mode::empty()) else { return false };
        let Ok(mut files) = fs::Dir::new(current) else { return false };
        files.all(|file| {
            let Ok(file) = file else { return false };
            let name = file.file_name();
            let is_linked = |name: &CStr| {
                let link = fs::readlinkat(&root, name, Vec::new());
                link.is_ok_and(|link| link.to_bytes() == [CURRENT.as_bytes(), b"/", name.to_bytes()].concat())
            };
            [c".", c".."].contains(&name) || is_linked(name)
        })
    }

    /// It is not there: whether it could be made.
    fn inspect_above(&self) -> Result<Found, DestinationError> {
        let above = self.path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
        fs::accessat(CWD, above, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(system("create a directory in", above))?;
        let room = fs::statvfs(above).map_err(system("look at", above))?;
        Ok(found(&room))
    }
}

fn found(room: &fs::StatVfs) -> Found {
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    // Some file systems count no files.
    let free_files = room.f_files == 0 || room.f_favail > 0;
    Found { exists: false, written: false, free, free_files }
}
