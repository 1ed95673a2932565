//! Who owns the data directory: root, and in it the daemon all that it needs.
//!
//! The directory itself is root's with mode 1770 and the daemon's group: the daemon makes files in it and, by the sticky bit,
//! cannot remove or replace what is root's there: the lock, the launcher's directory, the socket for administration. An
//! installation of root's alone is handed over at the first start. Only then, as the last step, is the directory opened to
//! the daemon's group, so a start that is killed in between simply begins again. Later starts look again, because a backup
//! that was copied back is root's.
//!
//! All of it goes by descriptors, and no link is followed: what lies there may have been put there by the daemon when it was
//! in other hands.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, chownat, fchmod, fchown, fstat, mkdirat, open, openat, statat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::account::Account;

/// The launcher's directory in the data directory: root's alone.
pub const LAUNCHER: &str = "launcher";
/// What stays root's, by name.
const ROOTS: [&[u8]; 3] =
    [LAUNCHER.as_bytes(), crate::run::data_dir::LOCK.as_bytes(), auth::ADMIN_SOCKET.as_bytes()];
/// Read, write, search for owner and group; only owners remove.
const SHARED: u32 = 0o1770;
/// Deeper than anything of ours; a deeper tree is not.
const DEEPEST: usize = 16;

/// Why the data directory was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// It is somebody else's.
    #[error(
        "data directory {path} belongs to user {owner}, neither to root nor to the daemon's {account}; if it is this daemon's, \
         run: chown -R root {path}", path = .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who should have it.
        account: Account,
    },
    /// The launcher's directory is not root's.
    #[error("{path} is not a directory of root's, and must be; find out who made it, and remove it", path = .0.display())]
    Launcher(PathBuf),
    /// The system refuses.
    #[error("cannot hand {path} over to the daemon's user: {error}", path = .path.display())]
    System {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Gives the data directory to the account, as far as it is to have it. As root, with the lock held.
///
/// # Errors
/// When it is somebody else's, or the system refuses.
pub fn hand_over(path: &Path, account: &Account) -> Result<(), OwnershipError> {
    let system = |error: Errno| OwnershipError::System { path: path.to_owned(), error: error.into() };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty()).map_err(system)?;
    let found = fstat(&directory).map_err(system)?;
    if found.st_uid != 0 && found.st_uid != account.uid {
        let (path, owner) = (path.to_owned(), found.st_uid);
        return Err(OwnershipError::Foreign { path, owner, account: account.clone() });
    }
    let shared = found.st_uid == 0
        && found.st_gid == account.gid
        && Mode::from_raw_mode(found.st_mode) == Mode::from_raw_mode(SHARED);
    if !shared {
        // Closed until everything in it is as it should be. The group stays: it tells whose the rest was.
        fchown(&directory, Some(Uid::ROOT), None).map_err(system)?;
        fchmod(&directory, Mode::RWXU).map_err(system)?;
    }
    launcher(&directory, path)?;
    let former = (found.st_gid != 0 || found.st_uid != 0).then_some(found.st_gid);
    let handing = Handing { account, former };
    handing.entries(directory.as_fd(), true, DEEPEST).map_err(system)?;
    if !shared {
        fchown(&directory, None, Some(Gid::from_raw(account.gid))).map_err(system)?;
        fchmod(&directory, Mode::from_raw_mode(SHARED)).map_err(system)?;
        tracing::info!(data_dir = %path.display(), user = %account, "the data directory is the daemon's");
    }
    Ok(())
}

/// Made while only root can, so that the daemon never does.
fn launcher(directory: &OwnedFd, path: &Path) -> Result<(), OwnershipError> {
    let path = path.join(LAUNCHER);
    let system = |error: Errno| OwnershipError::System { path: path.clone(), error: error.into() };
    match mkdirat(directory, LAUNCHER, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(system(error)),
    }
    let found = statat(directory, LAUNCHER, AtFlags::SYMLINK_NOFOLLOW).map_err(system)?;
    let mode = Mode::from_raw_mode(found.st_mode);
    let private = !mode.intersects(Mode::RWXG | Mode::RWXO);
    match FileType::from_raw_mode(found.st_mode).is_dir() && found.st_uid == 0 && private {
        true => Ok(()),
        false => Err(OwnershipError::Launcher(path)),
    }
}

struct Handing<'a> {
    account: &'a Account,
    /// The group that had it, if it was ever anybody's but root's.
    former: Option<u32>,
}

impl Handing<'_> {
    fn entries(&self, directory: BorrowedFd<'_>, top: bool, depth: usize) -> rustix::io::Result<()> {
        if depth == 0 {
            return Err(Errno::LOOP);
        }
        // An own descriptor: reading moves its position.
        let names: Vec<CString> = Dir::read_from(directory)?
            .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
            .collect::<Result<_, _>>()?;
        for name in names {
            let bytes = name.to_bytes();
            if bytes == b"." || bytes == b".." || (top && ROOTS.contains(&bytes)) {
                continue;
            }
            self.entry(directory, &name, depth)?;
        }
        Ok(())
    }

    fn entry(&self, directory: BorrowedFd<'_>, name: &CStr, depth: usize) -> rustix::io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entry = match openat(directory, name, flags, Mode::empty()) {
            Ok(entry) => entry,
            // The daemon before is still tidying up, or somebody else is.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = statat(&entry, "", AtFlags::EMPTY_PATH)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if self.is_to_go(&found, kind) {
            let (uid, gid) = (Uid::from_raw(self.account.uid), Gid::from_raw(self.account.gid));
            chownat(&entry, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        } else if found.st_uid != self.account.uid {
            return Ok(());
        }
        if !kind.is_dir() {
            return Ok(());
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        // By the descriptor that was looked at, not by its name again.
        let inside = openat(&entry, c".", flags, Mode::empty())?;
        self.entries(inside.as_fd(), false, depth - 1)
    }

    /// What was root's, and what was the account's before.
    fn is_to_go(&self, found: &Stat, kind: FileType) -> bool {
        if !(kind.is_file() || kind.is_dir() || kind.is_socket()) {
            return false;
        }
        // With a second name it may be a file of elsewhere, unless only root can have given it one.
        let one_name = kind.is_dir() || found.st_nlink == 1;
        match (found.st_uid, self.former) {
            (0, None) => true,
            (0, Some(_)) => one_name,
            (uid, Some(former)) => uid != self.account.uid && found.st_gid == former && one_name,
            (_, None) => false,
        }
    }
}
