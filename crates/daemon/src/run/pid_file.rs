//! The file that holds the process id while the daemon runs.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Removes the file when it is dropped, if it still holds this process's id.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the file. One that is there already is left over: the lock on the data directory tells who runs.
    ///
    /// # Errors
    /// When it cannot be written, or is a symbolic link.
    pub fn write(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours =
            std::fs::read_to_string(&self.path).is_ok_and(|id| id.trim() == std::process::id().to_string());
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            // Root wrote it where the daemon may not remove it. The next start replaces it.
            tracing::info!(path = %self.path.display(), %error, "pid file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PidFile;

    #[test]
    fn stands_while_it_is_held_and_does_not_remove_what_is_not_its_own() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("pid");
        let file = PidFile::write(&path).expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("reads").trim(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).expect("writes");
        std::fs::write(&path, "1\n").expect("writes");
        drop(file);
        assert!(path.exists());
    }
}
