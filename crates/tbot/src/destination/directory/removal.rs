//! Removes what somebody else put into a directory, with everything below it.
//!
//! Every step is relative to a handle, so whoever swaps directories meanwhile leads it nowhere. It goes through no link and
//! into no other file system.

use super::setup::entries;
use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io::Error;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Each level holds a descriptor.
const DEEPEST: usize = 64;

/// Removes `name` in `above`. What is gone already is fine.
pub(super) fn remove(above: impl AsFd, name: &CStr) -> Result<(), Error> {
    remove_at(above.as_fd(), name, 0)
}

fn remove_at(above: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Error> {
    match fs::unlinkat(above, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= DEEPEST {
        return Err(Error::other(format!("it is more than {DEEPEST} directories deep; remove it by hand")));
    }
    let directory = open(above, name)?;
    for entry in entries(&directory)? {
        remove_at(directory.as_fd(), &entry, depth + 1)?;
    }
    Ok(fs::unlinkat(above, name, AtFlags::REMOVEDIR)?)
}

fn open(above: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::BENEATH;
    match fs::openat2(above, name, flags, Mode::empty(), resolve) {
        Err(Errno::XDEV) => Err(Error::other("another file system is mounted in it; unmount that first")),
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::{DEEPEST, remove};
    use std::fs::File;

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let kept = scratch.path().join("kept");
        std::fs::create_dir(&kept).expect("created");
        std::fs::write(kept.join("file"), "precious").expect("written");
        let tree = scratch.path().join("tree/a/b");
        std::fs::create_dir_all(&tree).expect("created");
        std::fs::write(tree.join("file"), "").expect("written");
        std::os::unix::fs::symlink(&kept, tree.join("link")).expect("linked");
        let above = File::open(scratch.path()).expect("opened");
        remove(&above, c"tree").expect("removed");
        remove(&above, c"tree").expect("gone already");
        assert!(!scratch.path().join("tree").exists());
        assert_eq!(std::fs::read(kept.join("file")).expect("there"), b"precious");
    }

    #[test]
    fn depth_is_bounded() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let above = File::open(scratch.path()).expect("opened");
        let deep = |levels: usize| vec!["d"; levels].join("/");
        std::fs::create_dir_all(scratch.path().join(deep(DEEPEST))).expect("created");
        remove(&above, c"d").expect("just deep enough");
        std::fs::create_dir_all(scratch.path().join(deep(DEEPEST + 1))).expect("created");
        let refused = remove(&above, c"d").expect_err("too deep").to_string();
        assert!(refused.contains("remove it by hand"), "{refused}");
    }

    #[test]
    fn another_file_system_is_left_alone() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let (tree, other) = (scratch.path().join("tree/mounted"), scratch.path().join("other"));
        std::fs::create_dir_all(&tree).expect("created");
        std::fs::create_dir(&other).expect("created");
        std::fs::write(other.join("file"), "precious").expect("written");
        // Of the same device: the number alone would not tell.
        let mount = std::process::Command::new("mount").arg("--bind").args([&other, &tree]).output();
        if !mount.is_ok_and(|mounted| mounted.status.success()) {
            eprintln!("SKIPPED: needs root to mount one directory in another");
            return;
        }
        let refused = remove(File::open(scratch.path()).expect("opened"), c"tree");
        let unmounted = std::process::Command::new("umount").arg(&tree).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("unmount that first"), "{refused}");
        assert_eq!(std::fs::read(other.join("file")).expect("there"), b"precious");
    }
}
