//! Writes files with keys: readable by their owner only, whole or not at all, never through a symbolic link.

use crate::Failure;
use std::io::Write;
use std::path::Path;

/// Writes `bytes` to `path` with mode 0600. What is there already is only replaced if `overwrite` says so, and
/// only if it is a plain file.
pub fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), Failure> {
    check_target(path, overwrite)?;
    let named = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Created exclusively, with mode 0600, beside its destination; takes the name in one step.
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory).map_err(named)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(named)?;
    let placed = match overwrite {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    placed.map(drop).map_err(|error| named(error.error))
}

/// Refuses before any work is done what [`write()`] would refuse at its end.
pub fn check_target(path: &Path, overwrite: bool) -> Result<(), Failure> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::new(format!("cannot write {}: {error}", path.display()))),
    };
    if !found.is_file() {
        let what = if found.is_symlink() { "a symbolic link" } else { "no plain file" };
        return Err(Failure::new(format!("{} is {what}; keys are not written there", path.display()))
            .hint("name the file itself"));
    }
    match overwrite {
        true => Ok(()),
        false => Err(Failure::new(format!("{} exists already", path.display()))
            .hint("name another file, or replace it with --overwrite")),
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn the_file_is_the_owners_alone_and_not_replaced_by_accident() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("identity");
        write(&path, b"one", false).expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refusal = write(&path, b"two", false).expect_err("exists");
        assert!(refusal.to_string().contains("exists already\n  name another file"), "{refusal}");
        write(&path, b"two", true).expect("replaced");
        assert_eq!(std::fs::read(&path).expect("there"), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 1);
    }

    #[test]
    fn links_and_directories_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (victim, link) = (directory.path().join("victim"), directory.path().join("link"));
        std::fs::write(&victim, b"mine").expect("written");
        symlink(&victim, &link).expect("linked");
        for overwrite in [false, true] {
            assert!(write(&link, b"key", overwrite).is_err());
            assert!(write(directory.path(), b"key", overwrite).is_err());
        }
        assert_eq!(std::fs::read(&victim).expect("there"), b"mine");
    }
}
