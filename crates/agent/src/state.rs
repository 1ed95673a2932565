//! The agent's files: few, small, each written all at once and readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use access::{HostId, SystemRole};
use join::Attempt;
use rustix::fs::OFlags;

/// No file of ours is larger, except the audit spool.
pub(crate) const LARGEST: u64 = 64 * 1024 * 1024;

/// An id or an attempt, and then some.
const LONGEST_LINE: u64 = 4096;

/// Why a file of the agent cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StateError {
    /// Which.
    pub path: String,
    /// Why, and what to do.
    pub reason: String,
}

impl StateError {
    pub(crate) fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// The directory of one role.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// `<data_dir>/host/<role>`, made when it is not there.
    pub(crate) fn open(data_dir: &Path, role: SystemRole) -> Result<Self, StateError> {
        let path = data_dir.join("host").join(role.as_str().to_ascii_lowercase());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| StateError::new(&path, error))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes by which attempts to join are told apart, and by which the services on one data directory are known to
    /// belong together.
    pub(crate) fn attempt(&self) -> Result<Vec<u8>, StateError> {
        let path = self.path.with_file_name("attempt");
        let mut drawn = [0; Attempt::LEN];
        aws_lc_rs::rand::fill(&mut drawn).map_err(|_| StateError::new(&path, "no randomness"))?;
        let text = drawn_once(&path, || hex::encode(drawn))?;
        let kept = hex::decode(text.trim()).ok().filter(|bytes| bytes.len() == Attempt::LEN);
        kept.ok_or_else(|| StateError::new(&path, "it holds no attempt; remove it"))
    }

    /// The content of a file; none when it is not there.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(name);
        match read_own(&path, LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|error| StateError::new(&path, error)),
        }
    }

    /// Replaces a file: readers see the old or the new content, also after a crash.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path(name);
        replace(&path, content).map_err(|error| StateError::new(&path, error))
    }

    /// Removes a file; it is no error when it is not there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::new(&path, error)),
            _ => Ok(()),
        }
    }
}

/// The id of this host, drawn once for all services on it and kept in `host_uuid`.
pub fn host_id(data_dir: &Path) -> Result<HostId, StateError> {
    let path = data_dir.join("host_uuid");
    let text = drawn_once(&path, || uuid::Uuid::new_v4().to_string())?;
    let wrong = |_| StateError::new(&path, "it holds no UUID; restore it, or remove it and join again");
    text.trim().parse().map_err(wrong)
}

/// What `path` holds; drawn now if nobody has yet. Two services may start at once: whoever links first decides, and both
/// read the same.
fn drawn_once(path: &Path, draw: impl FnOnce() -> String) -> Result<String, StateError> {
    let failed = |error: io::Error| StateError::new(path, error);
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    match read_line(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.map_err(failed),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = directory.join(format!(".{name}.{}", uuid::Uuid::new_v4()));
    let written = create(&draft, draw().as_bytes());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => {
            sync_directory(directory).map_err(failed)?;
            read_line(path).map_err(failed)
        }
    }
}

fn read_line(path: &Path) -> io::Result<String> {
    String::from_utf8(read_own(path, LONGEST_LINE)?).map_err(io::Error::other)
}

/// Reads a file that should be ours and perhaps is not: the id of the host is read as root, in a directory in which the
/// daemon's user makes files. No link is followed, nothing is waited for, and no more than so many bytes are read.
fn read_own(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file of ours; remove it"));
    }
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content)?;
    match content.len() as u64 > most {
        true => Err(io::Error::other("too large to be ours; remove it")),
        false => Ok(content),
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = directory.join(format!(".{name}.new"));
    let _ = fs::remove_file(&draft);
    create(&draft, content)?;
    fs::rename(&draft, path)?;
    sync_directory(directory)
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{StateDir, host_id};
    use access::SystemRole;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_host_id_stays_and_is_one_for_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("new");
        let drawn: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| host_id(&data_dir))).collect();
            starts.into_iter().map(|start| start.join().expect("ends").expect("an id")).collect()
        });
        assert!(drawn.iter().all(|id| *id == drawn[0]));
        assert_eq!(host_id(&data_dir).expect("an id"), drawn[0]);
        assert_eq!(fs::read_dir(&data_dir).expect("readable").count(), 1, "no draft stays");
        fs::write(data_dir.join("host_uuid"), "nonsense").expect("written");
        let error = host_id(&data_dir).expect_err("no id").to_string();
        assert!(error.contains("host_uuid") && error.contains("join again"), "{error}");
    }

    #[test]
    fn no_id_is_read_from_what_is_no_plain_small_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, elsewhere) = (directory.path().join("host_uuid"), directory.path().join("elsewhere"));
        let refused = || {
            let error = host_id(directory.path()).expect_err("refused").to_string();
            fs::remove_file(&path).expect("removed");
            error
        };
        fs::write(&elsewhere, uuid::Uuid::new_v4().to_string()).expect("written");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        assert!(refused().contains("symbolic links"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("made");
        assert!(refused().contains("not a file of ours"), "and it was not waited for");
        fs::File::create(&path).expect("made").set_len(1 << 40).expect("long");
        assert!(refused().contains("too large"));
        host_id(directory.path()).expect("drawn anew");
    }

    #[test]
    fn the_services_of_one_process_share_their_attempt_and_no_other_does() {
        let (one, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let attempt = |directory: &tempfile::TempDir, role| {
            StateDir::open(directory.path(), role).expect("opens").attempt().expect("drawn")
        };
        let node = attempt(&one, SystemRole::Node);
        assert_eq!(attempt(&one, SystemRole::Proxy), node);
        assert_ne!(attempt(&other, SystemRole::Node), node);
        let path = one.path().join("host/attempt");
        assert_eq!(fs::metadata(&path).expect("kept").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nonsense").expect("written");
        let state = StateDir::open(one.path(), SystemRole::Node).expect("opens");
        assert!(state.attempt().expect_err("no attempt").to_string().contains("remove it"));
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(directory.path(), SystemRole::Node).expect("opens");
        assert_eq!(state.read("x").expect("absent"), None);
        state.write("x", b"one").expect("written");
        state.write("x", b"two").expect("written");
        assert_eq!(state.read("x").expect("there").as_deref(), Some(&b"two"[..]));
        let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(state.path("x")), 0o600);
        assert_eq!(mode(directory.path().join("host/node")), 0o700);
        state.remove("x").expect("removed");
        state.remove("x").expect("already gone");
        fs::create_dir(state.path("dir")).expect("made");
        assert!(state.read("dir").is_err());
    }
}
