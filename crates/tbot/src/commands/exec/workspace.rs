//! The private directory of one `tbot exec`.

use rustix::fs::FlockOperation;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PREFIX: &str = "tbot-";
/// Held as long as the directory is in use.
const LOCK: &str = ".lock";
/// What OpenSSH's shared connections are called in it.
const SOCKET: &str = ".m-";

/// A directory that nobody else can look into; removed with this value.
pub(super) struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Makes one, and removes those that were left by runs that were killed.
    pub(super) fn create() -> std::io::Result<Self> {
        let above = fs::canonicalize(std::env::temp_dir())?;
        remove_abandoned(&above);
        let name: String = uuid::Uuid::new_v4().simple().to_string().chars().take(16).collect();
        let path = above.join(format!("{PREFIX}{name}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = lock(&path).inspect_err(|_| drop(fs::remove_dir_all(&path)))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        close_connections(&self.path);
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::error!(directory = %self.path.display(), %error, "the credentials could not be removed; remove them");
        }
    }
}

/// It has its name only once it is held, so nobody finds it free before.
fn lock(path: &Path) -> std::io::Result<File> {
    let unnamed = path.join(".lock-new");
    let file = File::create_new(&unnamed)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(unnamed, path.join(LOCK))?;
    Ok(file)
}

/// OpenSSH keeps shared connections open in processes of their own, which would outlive the command.
fn close_connections(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(SOCKET) {
            let mut ssh = Command::new("ssh");
            ssh.args(["-F", "none", "-O", "exit", "-S"]).arg(entry.path()).arg("host");
            let _ = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn remove_abandoned(above: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let ours = ours.is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        // Not followed: a link of this name is somebody else's idea.
        let mine = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == me);
        if ours && mine && is_abandoned(&path) {
            close_connections(&path);
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = File::open(path.join(LOCK)) else { return false };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
