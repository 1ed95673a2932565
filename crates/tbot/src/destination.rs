//! Where credentials are written, and how: all files of an output change at once, or none does.

pub mod directory;
pub mod kubernetes;
pub mod memory;

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub use directory::acl::{Acls, Reader};
pub use directory::{Directory, Symlinks, refuse_way};
pub use kubernetes::Secret;
pub use memory::Memory;

/// File name to contents; the contents may be secret, so they are wiped.
pub type FileSet = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A system call failed.
    #[error("cannot {action} {path}: {source}{hint}", path = path.display(), hint = hint(action, source))]
    System {
        /// What was tried, as a verb: `create`, `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A component of the path is a symbolic link.
    #[error(
        "{path} leads through a symbolic link, which could hand credentials to somebody else; \
         use the real path, or set `symlinks: insecure` for this destination",
        path = path.display()
    )]
    Symlink {
        /// The path as configured.
        path: PathBuf,
    },
    /// A file that the agent did not write has one of its names.
    #[error(
        "{path} exists and was not written by tbot; move it away, or choose an empty directory",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else could replace what is in it.
    #[error("{path} {fault}; {mend}, or choose another directory", path = path.display())]
    Exposed {
        /// The directory, or the one above it.
        path: PathBuf,
        /// Owner and mode, and what is wrong with them.
        fault: String,
        /// What mends it.
        mend: String,
    },
    /// A configured reader does not exist.
    #[error("{path} has a reader that cannot be let in: {reason}; correct `readers`, or create it", path = path.display())]
    Reader {
        /// The directory.
        path: PathBuf,
        /// Which, and why.
        reason: String,
    },
    /// Access control lists are required, and the file system has none.
    #[error(
        "{path} is on a file system without access control lists; choose another directory, or set `acls: off`",
        path = path.display()
    )]
    NoAcls {
        /// The directory.
        path: PathBuf,
    },
    /// A Secret of Kubernetes cannot be written.
    #[error("{secret} cannot be written: {reason}")]
    Kubernetes {
        /// Which.
        secret: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Something else stands where the directory should be.
    #[error("{path} exists and is not a directory; remove it or choose another path", path = path.display())]
    NotADirectory {
        /// The path as configured.
        path: PathBuf,
    },
}

fn hint(action: &str, source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::PermissionDenied if ["read", "look at"].contains(&action) => {
            "; run this as the user that runs tbot, or as root"
        }
        ErrorKind::PermissionDenied => "; make it writable for the user that runs tbot",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space or choose another directory",
        ErrorKind::ReadOnlyFilesystem => "; mount it read-write or choose another destination",
        _ => "",
    }
}

impl DestinationError {
    /// Whether space would help.
    pub(crate) fn is_out_of_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::System { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// A place that holds one set of files. Two are equal that were configured the same.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// On disk.
    Directory(Directory),
    /// In a cluster of Kubernetes, for outputs.
    Secret(Secret),
    /// In this process; for tests of a configuration and for internal state that need not last.
    Memory(Memory),
}

impl Destination {
    /// Creates what is missing and proves that files can be written, before anything is asked of the cluster.
    pub fn prepare(&self) -> Result<(), DestinationError> {
        match self {
            Self::Directory(directory) => directory.prepare(),
            Self::Secret(secret) => secret.prepare(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Replaces the whole set. `render` is told where the new set will stand, which is not where the previous
    /// one stands; the previous one stays readable there for a while, never longer than its own `keep_until`.
    pub fn publish(
        &self,
        now: Timestamp,
        keep_until: Timestamp,
        render: impl FnOnce(&Path) -> FileSet,
    ) -> Result<(), DestinationError> {
        match self {
            Self::Directory(directory) => directory.publish(now, keep_until, render),
            Self::Secret(secret) => Err(secret.not_for_storage()),
            Self::Memory(memory) => {
                memory.publish(render(Path::new("/memory")));
                Ok(())
            }
        }
    }

    /// The same for outputs, some of which are not on this machine.
    pub async fn publish_output(
        &self,
        now: Timestamp,
        keep_until: Timestamp,
        render: impl FnOnce(&Path) -> FileSet,
    ) -> Result<(), DestinationError> {
        match self {
            Self::Secret(secret) => secret.publish(&render(Path::new("/secret"))).await,
            here => here.publish(now, keep_until, render),
        }
    }

    /// One file of the current set.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        match self {
            Self::Directory(directory) => directory.read(name),
            Self::Memory(memory) => Ok(memory.read(name)),
            Self::Secret(_) => Ok(None),
        }
    }

    /// The same of a file that may be larger than most.
    pub fn read_within(
        &self,
        name: &str,
        largest: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        match self {
            Self::Directory(directory) => directory.read_within(name, largest),
            here => here.read(name),
        }
    }

    /// Writes one file beside the set, replaced in one step. Memory keeps none.
    pub fn keep(&self, name: &str, contents: &[u8]) -> Result<(), DestinationError> {
        match self {
            Self::Directory(directory) => directory.keep(name, contents),
            Self::Memory(_) | Self::Secret(_) => Ok(()),
        }
    }

    /// Removes what [`Self::keep`] wrote, which takes no space.
    pub fn forget(&self, name: &str) -> Result<(), DestinationError> {
        match self {
            Self::Directory(directory) => directory.forget(name),
            Self::Memory(_) | Self::Secret(_) => Ok(()),
        }
    }

    /// What [`Self::keep`] wrote.
    pub fn kept(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DestinationError> {
        match self {
            Self::Directory(directory) => directory.read_at(Path::new(name)),
            Self::Memory(_) | Self::Secret(_) => Ok(None),
        }
    }

    /// Whether what was written is to be found by the names that it has for others.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_whole(),
            Self::Memory(_) | Self::Secret(_) => true,
        }
    }

    /// Whether what is written outlives the process.
    pub fn is_persistent(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::Secret(_))
    }

    /// The directory, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Directory(directory) => Some(directory.path()),
            Self::Memory(_) | Self::Secret(_) => None,
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "directory {}", directory.path().display()),
            Self::Secret(secret) => secret.fmt(f),
            Self::Memory(_) => f.write_str("memory"),
        }
    }
}
