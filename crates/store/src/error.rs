//! Why the store could not do what it was asked, as opposed to a condition that did not hold.

use std::path::PathBuf;

use crate::{Revision, TxnError};

/// A failure of the store or of the request itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The transaction breaks a bound; it can never succeed.
    #[error("transaction refused: {0}")]
    InvalidTxn(#[from] TxnError),
    /// The history after `requested` is not (or not yet) there.
    #[error(
        "changes after revision {requested} are not kept (have {oldest} to {newest}); list again and watch from there"
    )]
    Compacted {
        /// Where the watcher wanted to resume.
        requested: Revision,
        /// The oldest revision one can resume from.
        oldest: Revision,
        /// The present revision.
        newest: Revision,
    },
    /// There was no room for the request before its deadline; nothing was done.
    #[error("the store is busy and did not take the request in time; nothing was changed, try again")]
    Busy,
    /// The request was taken but not answered before its deadline; it may have been applied.
    #[error("the store did not answer in time; the change may have happened, repeat the same request")]
    NoAnswer,
    /// No space left; what was there before is untouched.
    #[error("store {path} cannot grow: {reason}; the change was not made, free some space and try again", path = .path.display())]
    Full {
        /// The store's file.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("store {path} cannot be read or written: {reason}; check the disk and the file's permissions", path = .path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
    /// The content is not what this program wrote.
    #[error("store {path} is damaged: {reason}; stop the service and restore it from a backup", path = .path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// This program did something wrong; the store is as it was.
    #[error("the store could not do this: {reason}; this is a mistake in the program, please report it")]
    Internal {
        /// What happened.
        reason: String,
    },
    /// The store was shut down.
    #[error("the store is shut down")]
    Closed,
}

impl StoreError {
    /// True if a write that got this error may have been applied nevertheless. It must then be
    /// repeated as it was; never take it for a failure.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::NoAnswer | Self::Io { .. } | Self::Internal { .. } | Self::Closed => true,
            Self::InvalidTxn(_)
            | Self::Compacted { .. }
            | Self::Busy
            | Self::Full { .. }
            | Self::Damaged { .. } => false,
        }
    }
}
