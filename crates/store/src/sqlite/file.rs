//! The store's file before the engine touches it: where it lies, who can read it, whose it is.
//! Everything that can be refused is refused here, by looking only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::schema::{APPLICATION_ID, supported};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const GROUP_OR_OTHERS: u32 = 0o077;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Holds the store for this process; given up when dropped, or when the process dies.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

/// Checks the place, takes the lock and makes the file if it is not there yet.
pub(super) fn prepare(path: &Path) -> Result<Lock, OpenError> {
    check_directory(path)?;
    let lock = lock(path)?;
    match fs::symlink_metadata(path) {
        Ok(metadata) => check_existing(path, &metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(unreadable(path, &error)),
    }
    Ok(lock)
}

fn check_directory(path: &Path) -> Result<(), OpenError> {
    let directory = directory_of(path);
    let refuse = |reason: String| OpenError::Directory { path: directory.to_owned(), reason };
    let metadata = fs::metadata(directory).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_dir() {
        return Err(refuse("it is not a directory".into()));
    }
    let mode = metadata.mode();
    if mode & GROUP_OR_OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(refuse(format!("its mode {:04o} lets other users replace files in it", mode & 0o7777)));
    }
    Ok(())
}

/// Two writers that each believe to be the only one would corrupt the revisions and the chain.
fn lock(path: &Path) -> Result<Lock, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // A link would have us make or lock a file elsewhere.
        .custom_flags(NO_FOLLOW)
        .open(&name)
        .map_err(|error| unreadable(&name, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unreadable(&name, &error)),
    }
}

fn check_existing(path: &Path, metadata: &fs::Metadata) -> Result<(), OpenError> {
    if !metadata.is_file() {
        return Err(OpenError::NotAFile { path: path.to_owned() });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(OpenError::NotOurs { path: path.to_owned(), owner: metadata.uid(), us });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & GROUP_OR_OTHERS != 0 {
        return Err(OpenError::TooOpen { path: path.to_owned(), mode });
    }
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|error| unreadable(path, &error))?;
    check_header(path, &header)
}

/// Reads the fields of the database header (SQLite file format, section 1.3) without opening
/// the database, because opening it may already write.
fn check_header(path: &Path, header: &[u8]) -> Result<(), OpenError> {
    if header.is_empty() {
        return Ok(());
    }
    let foreign = || OpenError::Foreign { path: path.to_owned() };
    if !header.starts_with(MAGIC) {
        return Err(foreign());
    }
    let field = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(i32::from_be_bytes).ok_or_else(foreign)
    };
    if field(68)? != APPLICATION_ID {
        return Err(foreign());
    }
    check_version(path, field(60)?)
}

/// Refuses a store written by a later program.
pub(super) fn check_version(path: &Path, found: i32) -> Result<(), OpenError> {
    if found > supported() {
        return Err(OpenError::Newer { path: path.to_owned(), found, supported: supported() });
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|file| file.sync_all())
        .and_then(|()| File::open(directory_of(path)))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| unreadable(path, &error))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}
