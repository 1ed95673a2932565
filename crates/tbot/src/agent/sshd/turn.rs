//! One at a time: the agent that writes sshd's configuration, and whoever takes it away.

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

const LOCK: &str = "sshd-lock";
/// More than sshd has for one answer, which is what a turn takes.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// It is somebody's turn until this is dropped.
#[derive(Debug)]
pub struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for it, at the files of one server.
    pub async fn take(directory: &Path) -> Result<Self, String> {
        let path = directory.join(LOCK);
        let fault = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
        let file = options.open(&path).map_err(fault)?;
        let mut left = PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(fault(error.into())),
            }
            left = left.checked_sub(PAUSE).ok_or_else(|| {
                format!("another tbot holds {} for {PATIENCE:?} already; try again", path.display())
            })?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
