//! A directory whose files change all at once.
//!
//! Every set of files is a directory of its own, `.generation-<number>-<keep until>-<written at>`, written beside,
//! synced and then put in force by renaming the one link `.current`. The names that people use (`key`, `identity`,
//! ...) are links through `.current`:
//!
//! ```text
//! /opt/machine-id/key      -> .current/key
//! /opt/machine-id/.current -> .generation-7-1767225600-1767222000
//! ```
//!
//! A reader that opens one file sees the old or the new one, whole. A reader that opens several and must not mix
//! them (OpenSSH reads the certificate first and the key much later) is given a path inside one generation, which
//! stays for a while ([`generation`]). Nothing here follows a link that somebody else put in the way: the
//! directory is opened once without following links (`openat2`), everything else is relative to that handle.

pub mod acl;
mod create;
mod exposure;
mod generation;
pub mod inspect;
mod removal;
pub mod setup;
mod share;

use super::{DestinationError, FileSet};
use acl::{Acls, Reader};
pub use exposure::refuse_way;
use generation::Generation;
use jiff::Timestamp;
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CURRENT: &str = ".current";
const PARTIAL: &str = ".partial-";
const PROBE: &str = ".write-test";
/// More is not read into memory, whoever put it there.
const LARGEST_FILE: u64 = 1 << 20;

/// What to do about symbolic links on the way to the directory (fact sheet, section 2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Refuse them; an error where the kernel cannot.
    Secure,
    /// Refuse them where the kernel can.
    #[default]
    TrySecure,
    /// Follow them.
    Insecure,
}

/// A destination on disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
    symlinks: Symlinks,
    acls: Acls,
    readers: Vec<Reader>,
}

impl Directory {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>, symlinks: Symlinks) -> Self {
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, symlinks, acls: Acls::Try, readers: Vec::new() }
    }

    /// Whether access control lists are used. Unless it is `Off`, one on the directory may let others write; otherwise it is
    /// refused like a mode that does.
    #[must_use]
    pub fn acls(self, acls: Acls) -> Self {
        Self { acls, ..self }
    }

    /// Who may read what is written, beside its owner.
    #[must_use]
    pub fn readers(self, readers: Vec<Reader>) -> Self {
        Self { readers, ..self }
    }

    /// Whether access control lists are used.
    pub fn uses_acls(&self) -> Acls {
        self.acls
    }

    /// The configured readers.
    pub fn known_readers(&self) -> &[Reader] {
        &self.readers
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// See [`super::Destination::prepare`].
    pub fn prepare(&self) -> Result<(), DestinationError> {
        let root = self.open()?;
        self.share_root(&root)?;
        self.write_file(&root, Path::new(PROBE), b"", OFlags::TRUNC).map(drop)
    }

    /// See [`super::Destination::publish`].
    pub fn publish(
        &self,
        now: Timestamp,
        keep_until: Timestamp,
        render: impl FnOnce(&Path) -> FileSet,
    ) -> Result<(), DestinationError> {
        let root = self.open()?;
        self.share_root(&root)?;
        let generations = self.generations(&root)?;
        let number = generations.iter().map(|generation| generation.number).max().unwrap_or(0) + 1;
        let new = Generation::new(number, keep_until, now);
        let files = render(&self.path.join(&new.name));
        self.refuse_foreign(&root, &files)?;
        if let Err(error) = self.write_generation(&root, &new, &files) {
            // A half-written set helps nobody, and holds what the next try needs.
            let _ = remove_tree(&root, &new.partial());
            if !error.is_out_of_space() {
                return Err(error);
            }
            self.make_room(&root, &generations)?;
            self.write_generation(&root, &new, &files).inspect_err(|_| {
                let _ = remove_tree(&root, &new.partial());
            })?;
        }
        self.put_in_force(&root, &new.name)?;
        self.link_names(&root, &files)?;
        self.remove(&root, generation::superseded(generations, &new, now))
    }

    /// Without space for new credentials, old ones are worth less than new ones: all but those in force go.
    fn make_room(&self, root: &OwnedFd, generations: &[Generation]) -> Result<(), DestinationError> {
        let in_force = fs::readlinkat(root, CURRENT, Vec::new());
        let in_force = in_force.as_ref().map(|link| link.to_bytes()).unwrap_or_default();
        let rest = generations.iter().filter(|generation| generation.name.as_bytes() != in_force);
        self.remove(root, rest.cloned().collect())
    }

    /// See [`super::Destination::keep`].
    pub fn keep(&self, name: &str, contents: &[u8]) -> Result<(), DestinationError> {
        let root = self.open()?;
        let beside = format!("{PARTIAL}{name}");
        self.write_file(&root, Path::new(&beside), contents, OFlags::TRUNC)?;
        fs::renameat(&root, &beside, &root, name).map_err(system("name", &self.path.join(name)))
    }

    /// See [`super::Destination::forget`].
    pub fn forget(&self, name: &str) -> Result<(), DestinationError> {
        let root = self.open()?;
        match fs::unlinkat(&root, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(system("remove", &self.path.join(name))(error)),
        }
    }

    /// See [`super::Destination::read`].
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        self.read_within(name, LARGEST_FILE)
    }

    /// See [`super::Destination::read_within`].
    pub fn read_within(
        &self,
        name: &str,
        largest: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        // Our own two links are followed; the set they lead to holds plain files only.
        self.whole(&Path::new(CURRENT).join(name), largest)
    }

    /// A file by its path in the directory.
    pub fn read_at(&self, name: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        self.whole(name, LARGEST_FILE)
    }

    /// All of a file, or an error: half of one is worth nothing.
    fn whole(&self, name: &Path, largest: u64) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        let root = match self.open_existing() {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.opening(error)),
        };
        let path = self.path.join(name);
        let file = match open_below(&root, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(system("read", &path)(error)),
        };
        let found = fs::fstat(&file).map_err(system("look at", &path))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(DestinationError::Foreign { path });
        }
        let file = File::from(file);
        let mut contents = Zeroizing::new(Vec::new());
        let read = file.take(largest.saturating_add(1)).read_to_end(&mut contents);
        let read = read.and_then(|read| match u64::try_from(read) {
            Ok(read) if read <= largest => Ok(()),
            _ => Err(std::io::Error::other(format!("it has more than {largest} bytes"))),
        });
        read.map_err(|source| DestinationError::System { action: "read", path, source })?;
        Ok(Some(contents))
    }

    /// Opens it, created if it is missing, unless somebody else could change what is in it.
    fn open(&self) -> Result<OwnedFd, DestinationError> {
        let root = match self.open_existing() {
            Err(Errno::NOENT) => self.create().map(|()| self.open_existing())?,
            opened => opened,
        };
        let root = root.map_err(|error| self.opening(error))?;
        exposure::refuse(&root, &self.path, self.acls != Acls::Off)?;
        Ok(root)
    }

    fn open_existing(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.symlinks == Symlinks::Insecure {
            return fs::open(&self.path, flags, Mode::empty());
        }
        let opened = fs::openat2(CWD, &self.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        match opened {
            Err(Errno::NOSYS) if self.symlinks == Symlinks::TrySecure => {
                fs::open(&self.path, flags, Mode::empty())
            }
            opened => opened,
        }
    }

    fn opening(&self, error: Errno) -> DestinationError {
        match error {
            Errno::LOOP => DestinationError::Symlink { path: self.path.clone() },
            Errno::NOTDIR => DestinationError::NotADirectory { path: self.path.clone() },
            error => system("open", &self.path)(error),
        }
    }

    fn write_generation(
        &self,
        root: &OwnedFd,
        new: &Generation,
        files: &FileSet,
    ) -> Result<(), DestinationError> {
        let (name, partial) = (&new.name, new.partial());
        remove_tree(root, &partial).map_err(system("remove", &self.path.join(&partial)))?;
        fs::mkdirat(root, &partial, Mode::RWXU).map_err(system("create", &self.path.join(&partial)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::openat(root, &partial, flags, Mode::empty())
            .map_err(system("open", &self.path.join(&partial)))?;
        for (file, contents) in files {
            let written = self.write_file(&directory, Path::new(file), contents, OFlags::EXCL)?;
            self.share(&written, acl::On::File, &self.path.join(&partial).join(file))?;
        }
        self.share(&directory, acl::On::Directory, &self.path.join(&partial))?;
        fs::fsync(&directory).map_err(system("sync", &self.path.join(&partial)))?;
        fs::renameat(root, &partial, root, name).map_err(system("name", &self.path.join(name)))?;
        fs::fsync(root).map_err(system("sync", &self.path))
    }

    fn write_file(
        &self,
        directory: &OwnedFd,
        name: &Path,
        contents: &[u8],
        extra: OFlags,
    ) -> Result<File, DestinationError> {
        let path = self.path.join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
        let file =
            fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(system("write", &path))?;
        let mut file = File::from(file);
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        written.map(|()| file).map_err(|source| DestinationError::System { action: "write", path, source })
    }

    /// Files that were not written here may be somebody's only copy: known_hosts in ~/.ssh, a key. They are left alone.
    fn refuse_foreign(&self, root: &OwnedFd, files: &FileSet) -> Result<(), DestinationError> {
        for name in files.keys() {
            match fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Symlink => {
                    return Err(DestinationError::Foreign { path: self.path.join(name) });
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(system("look at", &self.path.join(name))(error)),
            }
        }
        Ok(())
    }

    /// The one step that readers see.
    fn put_in_force(&self, root: &OwnedFd, generation: &str) -> Result<(), DestinationError> {
        self.replace_link(root, CURRENT, generation)?;
        fs::fsync(root).map_err(system("sync", &self.path))
    }

    fn link_names(&self, root: &OwnedFd, files: &FileSet) -> Result<(), DestinationError> {
        for name in files.keys() {
            let target = format!("{CURRENT}/{name}");
            let present = fs::readlinkat(root, name, Vec::new());
            if present.is_ok_and(|link| link.to_bytes() == target.as_bytes()) {
                continue;
            }
            self.replace_link(root, name, &target)?;
        }
        fs::fsync(root).map_err(system("sync", &self.path))
    }

    /// Replaces whatever file or link has this name in one step.
    fn replace_link(&self, root: &OwnedFd, name: &str, target: &str) -> Result<(), DestinationError> {
        let path = self.path.join(name);
        let beside = format!("{PARTIAL}{name}");
        match fs::unlinkat(root, &beside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(system("replace", &path)(error)),
        }
        fs::symlinkat(target, root, &beside).map_err(system("link", &path))?;
        fs::renameat(root, &beside, root, name).map_err(system("replace", &path))
    }

    fn remove(&self, root: &OwnedFd, generations: Vec<Generation>) -> Result<(), DestinationError> {
        for stale in generations {
            remove_tree(root, &stale.name).map_err(system("remove", &self.path.join(&stale.name)))?;
        }
        Ok(())
    }

    fn generations(&self, root: &OwnedFd) -> Result<Vec<Generation>, DestinationError> {
        let listing = fs::Dir::read_from(root).map_err(system("list", &self.path))?;
        let mut generations = Vec::new();
        for entry in listing {
            let entry = entry.map_err(system("list", &self.path))?;
            generations.extend(Generation::parse(entry.file_name()));
        }
        Ok(generations)
    }
}

/// Opens a file without waiting for whoever might write to it. Links on the way are ours and stay below `root`; the file is none.
fn open_below(root: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match fs::openat2(root, name, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => fs::openat(root, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// Removes a directory of plain files; nothing in it is followed. Missing is fine.
fn remove_tree(root: impl AsFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match fs::openat(&root, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in fs::Dir::read_from(&directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") && entry.file_type() != FileType::Directory {
            fs::unlinkat(&directory, entry.file_name(), AtFlags::empty())?;
        }
    }
    fs::unlinkat(&root, name, AtFlags::REMOVEDIR)
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> DestinationError {
    move |error| DestinationError::System { action, path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests;
