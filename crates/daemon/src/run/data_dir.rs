//! The data directory, held by one daemon at a time.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

/// The file by which it is held.
pub(crate) const LOCK: &str = "postern.lock";

/// A data directory that this process may use. Dropping it, or the death of the process, lets the next one in.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Somebody else has it.
    #[error("data directory {path} is in use by {holder}; stop that daemon first, or choose another data_dir",
        path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds the lock, as far as is known.
        holder: String,
    },
    /// Others could plant files in it.
    #[error("data directory {path} can be written by others (mode {mode:o}); run chmod 700 on it", path = .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The lock is somebody else's.
    #[error("{path} is not an own file of this user but one of user {uid}; {next}", path = .path.display(), next = foreign_next(.path))]
    Foreign {
        /// The lock.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The system refuses.
    #[error("cannot {action} {path}: {error}", path = .path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl DataDir {
    /// Creates the directory if it is missing, readable by its owner only, and takes its lock.
    ///
    /// # Errors
    /// When another daemon has it, others can write to it, or the system refuses.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let system = |action, path: &Path| {
            let path = path.to_owned();
            move |error| DataDirError::System { action, path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(system("create", path))?;
        let found = std::fs::metadata(path).map_err(system("look at", path))?;
        let mode = found.mode() & 0o7777;
        if mode & 0o002 != 0 || (mode & 0o020 != 0 && !is_shared(&found)) {
            return Err(DataDirError::Open { path: path.to_owned(), mode });
        }
        let file = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&file)
            .map_err(system("open", &file))?;
        let found = lock.metadata().map_err(system("look at", &file))?;
        if !found.is_file() || found.nlink() != 1 || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(DataDirError::Foreign { path: file, uid: found.uid() });
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(DataDirError::InUse { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(error) => return Err(system("lock", &file)(error.into())),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(system("write", &file))?;
        Ok(Self { _lock: lock })
    }
}

/// As root gives it to the daemon's group: what is root's in it, nobody else replaces. See `privileges::ownership`.
fn is_shared(found: &Metadata) -> bool {
    found.uid() == 0 && found.mode() & 0o1000 != 0
}

/// Root takes what is the daemon's over, and hands it on at the start.
fn foreign_next(lock: &Path) -> String {
    match rustix::process::geteuid().is_root() {
        true => {
            let directory = lock.parent().unwrap_or(lock).display();
            format!("if the directory is this daemon's, run chown -R root {directory}")
        }
        false => "start the daemon as that user".to_owned(),
    }
}

fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    match lock.take(20).read_to_string(&mut pid) {
        Ok(_) if pid.trim().parse::<u32>().is_ok() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{DataDir, DataDirError};

    #[test]
    fn one_daemon_at_a_time() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("a/b");
        let held = DataDir::lock(&path).expect("is free");
        let mode = std::fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = DataDir::lock(&path).expect_err("is held").to_string();
        assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
        drop(held);
        DataDir::lock(&path).expect("is free again");
    }

    #[test]
    fn refuses_a_directory_that_others_can_write_and_a_lock_that_leads_elsewhere() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(matches!(DataDir::lock(root.path()), Err(DataDirError::Open { .. })));
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
        std::os::unix::fs::symlink("/dev/null", root.path().join(super::LOCK)).expect("links");
        assert!(matches!(DataDir::lock(root.path()), Err(DataDirError::System { action: "open", .. })));
    }
}
