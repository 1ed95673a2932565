//! Where the launcher keeps what it keeps.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::Fatal;

/// Others may write in it, but not exchange what is not theirs.
const STICKY: u32 = 0o1000;

/// Makes sure of a directory that nobody else can change: not by writing to it, and not by exchanging one above it.
pub(super) fn prepare(directory: &Path) -> Result<PathBuf, Fatal> {
    let failed = |path: &Path, reason: String| Fatal::File { path: path.to_owned(), reason };
    let io_failed = |error: io::Error| failed(directory, error.to_string());
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(io_failed)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(io_failed)?,
    }
    if fs::symlink_metadata(directory).map_err(io_failed)?.is_symlink() {
        return Err(failed(
            directory,
            "it is a link; it has to be a directory of the launcher's own".to_owned(),
        ));
    }
    let directory = directory.canonicalize().map_err(io_failed)?;
    let own = geteuid().as_raw();
    for above in directory.ancestors() {
        let found = fs::symlink_metadata(above).map_err(|error| failed(above, error.to_string()))?;
        let is_near = above == directory || Some(above) == directory.parent();
        let is_ours = found.uid() == own || (found.uid() == 0 && above != directory);
        let is_safe = found.mode() & 0o022 == 0 || (above != directory && found.mode() & STICKY != 0);
        let is_good = found.is_dir() && is_safe && (is_ours || !is_near);
        if !is_good && (is_near || own == 0) {
            let reason = "others could exchange what the launcher keeps below it; it has to belong to root (or to the user \
                          that postern runs as) and nobody else may write to it";
            return Err(failed(above, reason.to_owned()));
        }
        if !is_ours && own == 0 {
            eprintln!(
                "session-launcher: {} belongs to user {}, who could exchange what is below it",
                above.display(),
                found.uid()
            );
        }
    }
    Ok(directory)
}

/// Replaces a file there: after a crash at any moment it has the old or the new content, or is not there yet.
pub(super) fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = directory.join(format!(".{name}.new"));
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{prepare, replace};

    #[test]
    fn what_a_crash_left_half_written_is_in_nobody_s_way() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(".key.new"), "ha").expect("written");
        for content in ["one", "two"] {
            replace(directory.path(), "key", content.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(directory.path().join("key")).expect("there"), content);
        }
        let mode = fs::metadata(directory.path().join("key")).expect("there").permissions().mode();
        assert_eq!((mode & 0o777, fs::read_dir(directory.path()).expect("readable").count()), (0o600, 1));
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let wanted = directory.path().join("data/launcher");
        let made = prepare(&wanted).expect("made");
        assert_eq!(fs::metadata(&made).expect("there").permissions().mode() & 0o777, 0o700);
        prepare(&wanted).expect("again");
        for (path, mode) in [(wanted.clone(), 0o777), (directory.path().join("data"), 0o775)] {
            let before = fs::metadata(&path).expect("there").permissions();
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("changed");
            assert!(prepare(&wanted).is_err(), "{}", path.display());
            fs::set_permissions(&path, before).expect("changed back");
        }
        prepare(&wanted).expect("good again");
        std::os::unix::fs::symlink(&wanted, directory.path().join("data/link")).expect("linked");
        assert!(prepare(&directory.path().join("data/link")).is_err(), "a link");
    }
}
