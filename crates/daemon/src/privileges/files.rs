//! Files that root opens for the daemon: only where nobody but root can put something else in their place.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, chownat, open, statat};
use rustix::process::{Gid, Uid};

use super::account::{Account, WITHOUT_ACCOUNT};

/// Whether nobody but root can change what a path leads to: each directory above it, links resolved, is root's and can be
/// written by nobody else, or is, further up, one like `/tmp` in which nobody can replace what is root's.
///
/// What is not so is opened after the daemon has become its own user, with no more rights than who planted it.
#[must_use]
pub fn is_roots_alone(path: &Path) -> bool {
    let Some(Ok(directory)) = path.parent().map(std::fs::canonicalize) else { return false };
    directory.ancestors().enumerate().all(|(above, directory)| {
        let Ok(found) = std::fs::metadata(directory) else { return false };
        let closed = found.mode() & 0o022 == 0;
        found.uid() == 0 && (closed || (above > 0 && found.mode() & 0o1000 != 0))
    })
}

/// Gives a file of root's, or of a daemon without an account, to the daemon. Links are not followed, and a file with more names than one stays as it is: the
/// other name may be anywhere.
///
/// # Errors
/// When the system refuses.
pub fn give(path: &Path, account: &Account) -> io::Result<()> {
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = statat(&file, "", AtFlags::EMPTY_PATH)?;
    let regular = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    let ours = found.st_uid == 0 || WITHOUT_ACCOUNT.contains(&found.st_uid);
    if !regular || !ours || found.st_nlink != 1 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    Ok(chownat(&file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}
