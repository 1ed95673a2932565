//! Makes a directory ready for an agent that runs as another user: owner, modes and readers of it and of what is in it.

use super::acl::{self, Acls, Id, On, Reader};
use super::generation::Generation;
use super::{CURRENT, Directory, PARTIAL, PROBE, exposure, removal, remove_tree, system};
use crate::destination::DestinationError;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// What is wanted.
pub struct Setup {
    /// Numbers of user and group.
    pub owner: (u32, u32),
    /// A user that may write too.
    pub writer: Option<u32>,
    /// A user that may read, beside the directory's own readers.
    pub reader: Option<Reader>,
    /// Removes what is nobody's business here.
    pub clean: bool,
}

impl Setup {
    /// Does it. What is there already is corrected, so it may be repeated. Gives those who could read it before and may not any more.
    pub fn run(&self, directory: &Directory) -> Result<Vec<Id>, DestinationError> {
        let readers = self.readers(directory)?;
        let root = match directory.open_existing() {
            Err(rustix::io::Errno::NOENT) => directory.create().map(|()| directory.open_existing())?,
            opened => opened,
        };
        let root = root.map_err(|error| directory.opening(error))?;
        if self.clean && rustix::process::geteuid().is_root() {
            exposure::refuse_above(&root, &directory.path)?;
        }
        let before = acl::present(&root).ok().flatten().unwrap_or_default();
        self.strangers(directory, &root)?;
        for name in entries(&root).map_err(system("list", &directory.path))? {
            if Generation::parse(&name).is_some() {
                self.generation(directory, &root, &name, &readers)?;
            } else {
                // Links have an owner and nothing else.
                self.chown_link(directory, &root, &name)?;
            }
        }
        self.give(directory, &root, On::Directory, &readers)?;
        Ok(acl::readers(&before).into_iter().filter(|id| !self.lets_in(*id, &readers)).collect())
    }

    fn lets_in(&self, id: Id, readers: &[Id]) -> bool {
        readers.contains(&id)
            || [Some(self.owner.0), self.writer].map(|uid| uid.map(Id::User)).contains(&Some(id))
    }

    fn readers(&self, directory: &Directory) -> Result<Vec<Id>, DestinationError> {
        if directory.acls == Acls::Off {
            return Ok(Vec::new());
        }
        let all = directory.readers.iter().chain(&self.reader).map(Reader::id);
        let unknown = |reason| DestinationError::Reader { path: directory.path.clone(), reason };
        let ids: Vec<Id> = all.collect::<Result<_, _>>().map_err(unknown)?;
        if ids.contains(&Id::User(self.owner.0)) {
            tracing::warn!(
                "the reader owns the files: OpenSSH refuses keys that others can read, and they are its own"
            );
        }
        Ok(ids.into_iter().filter(|id| *id != Id::User(self.owner.0)).collect())
    }

    /// What tbot would not have put there.
    fn strangers(&self, directory: &Directory, root: &OwnedFd) -> Result<(), DestinationError> {
        for name in entries(root).map_err(system("list", &directory.path))? {
            let found = fs::statat(root, &name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = found.map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode));
            if is_ours(root, &name, kind) {
                continue;
            }
            let shown = directory.path.join(name.to_string_lossy().as_ref());
            if !self.clean {
                tracing::warn!(path = %shown.display(), "it was not written by tbot; --clean removes it");
                continue;
            }
            removal::remove(root, &name).map_err(|source| DestinationError::System {
                action: "remove",
                path: shown.clone(),
                source,
            })?;
            tracing::info!(path = %shown.display(), "removed");
        }
        Ok(())
    }

    fn generation(
        &self,
        directory: &Directory,
        root: &OwnedFd,
        name: &CStr,
        readers: &[Id],
    ) -> Result<(), DestinationError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(root, name, flags, Mode::empty());
        let set = opened.map_err(system("open", &directory.path.join(name.to_string_lossy().as_ref())))?;
        for file in entries(&set).map_err(system("list", &directory.path))? {
            let path = directory.path.join(name.to_string_lossy().as_ref());
            let path = path.join(file.to_string_lossy().as_ref());
            // A FIFO must not keep anybody waiting.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = fs::openat(&set, &file, flags, Mode::empty()).map_err(system("open", &path))?;
            let found = fs::fstat(&file).map_err(system("look at", &path))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(DestinationError::Foreign { path });
            }
            self.give(directory, &file, On::File, readers)?;
        }
        self.give(directory, &set, On::Directory, readers)
    }

    /// Owner, then list or mode: changing the owner may clear bits of the mode.
    fn give(
        &self,
        directory: &Directory,
        file: impl AsFd,
        on: On,
        readers: &[Id],
    ) -> Result<(), DestinationError> {
        let found = fs::fstat(&file).map_err(system("look at", &directory.path))?;
        if on == On::File && found.st_nlink > 1 {
            // Somebody who may write here could have linked any file into it, to be given that file.
            return Err(DestinationError::Foreign { path: directory.path.clone() });
        }
        if (found.st_uid, found.st_gid) != self.owner {
            let (user, group) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            fs::fchown(&file, Some(user), Some(group)).map_err(system("give away", &directory.path))?;
        }
        let with_list = directory.acls != Acls::Off && (!readers.is_empty() || self.writer.is_some());
        if with_list {
            match acl::ensure(&file, on, &acl::list(on, readers, self.writer)) {
                Ok(_) => return Ok(()),
                Err(error) if directory.acls == Acls::Required => {
                    return Err(system("set the access control list of", &directory.path)(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "access control lists cannot be used: only the owner can read and write");
                }
            }
        }
        let mode = if on == On::Directory { Mode::RWXU } else { Mode::RUSR | Mode::WUSR };
        fs::fchmod(&file, mode).map_err(system("change the mode of", &directory.path))
    }

    fn chown_link(&self, directory: &Directory, root: &OwnedFd, name: &CStr) -> Result<(), DestinationError> {
        let found = fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(system("look at", &directory.path))?;
        if (found.st_uid, found.st_gid) == self.owner {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        fs::chownat(root, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(system("give away", &directory.path))
    }
}

/// Names of everything in it.
pub(super) fn entries(directory: impl AsFd) -> Result<Vec<CString>, rustix::io::Errno> {
    let listing = fs::Dir::read_from(directory)?;
    let names = listing.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names: Result<Vec<CString>, _> = names.collect();
    Ok(names?.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect())
}

/// Sets of files, the link in force, links through it, the probe, and leftovers of a crash.
fn is_ours(root: &OwnedFd, name: &CStr, kind: FileType) -> bool {
    let text = name.to_string_lossy();
    match kind {
        FileType::Directory if text.starts_with(PARTIAL) => remove_tree(root, &text).is_ok(),
        FileType::Directory => Generation::parse(name).is_some(),
        FileType::Symlink => {
            let target = fs::readlinkat(root, name, Vec::new()).unwrap_or_default();
            text == CURRENT || target.to_bytes() == format!("{CURRENT}/{text}").as_bytes()
        }
        _ => text == PROBE,
    }
}

#[cfg(test)]
mod tests {
    use super::Setup;
    use crate::destination::{Directory, Symlinks};
    use std::os::unix::fs::chown;
    use std::path::Path;

    fn cleaning() -> Setup {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Setup { owner, writer: None, reader: None, clean: true }
    }

    fn tree(path: &Path) {
        std::fs::create_dir_all(path.join("junk/below")).expect("created");
        std::fs::write(path.join("junk/below/file"), "precious").expect("written");
    }

    #[test]
    fn a_directory_that_takes_the_place_of_the_opened_one_is_not_cleaned() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let (path, moved) = (scratch.path().join("out"), scratch.path().join("moved"));
        tree(&path);
        let directory = Directory::new(&path, Symlinks::Secure);
        let opened = directory.open_existing().expect("opened");
        std::fs::rename(&path, &moved).expect("swapped");
        tree(&path);
        cleaning().strangers(&directory, &opened).expect("cleaned");
        assert!(path.join("junk/below/file").exists(), "it was never looked at");
        assert!(!moved.join("junk").exists());
    }

    #[test]
    fn what_is_no_file_in_a_set_is_refused_and_waited_for_by_nobody() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let set = scratch.path().join("out/.generation-1-2-3");
        std::fs::create_dir_all(&set).expect("created");
        let directory = Directory::new(scratch.path().join("out"), Symlinks::Secure);
        let refused = |name: &str| {
            let refused = cleaning().run(&directory).expect_err("refused").to_string();
            assert!(refused.contains(&format!("{name} exists and was not written by tbot")), "{refused}");
        };
        std::fs::create_dir(set.join("directory")).expect("created");
        refused("directory");
        std::fs::remove_dir(set.join("directory")).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, set.join("fifo"), rustix::fs::Mode::RUSR).expect("made");
        refused("fifo");
    }

    #[test]
    fn root_cleans_nothing_that_the_owner_of_the_directory_above_can_swap() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to give a directory away");
            return;
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let above = scratch.path().join("above");
        let path = above.join("out");
        tree(&path);
        chown(&above, Some(65_534), None).expect("given away");
        let directory = Directory::new(&path, Symlinks::Secure);
        let refused = cleaning().run(&directory).expect_err("refused").to_string();
        assert!(refused.contains("belongs to uid 65534"), "{refused}");
        assert!(path.join("junk").exists());
        Setup { clean: false, ..cleaning() }.run(&directory).expect("nothing is removed");
        chown(&above, Some(0), None).expect("taken back");
        cleaning().run(&directory).expect("cleaned");
        assert!(!path.join("junk").exists());
    }
}
