//! Following changes. A watch is a place in the store's history plus a prefix; it keeps no queue
//! of its own, so a slow watcher costs nothing until the history it still needs is dropped, and
//! is then cut.

use async_trait::async_trait;

use crate::{Entry, Key, Revision, StoreError};

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The entry was written.
    Put(Entry),
    /// The entry was removed, by a transaction or because it expired.
    Delete {
        /// Where it was.
        key: Key,
        /// The transaction that removed it.
        revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// Everything one transaction did under the watched prefix. Applying it whole and remembering
/// its revision is what makes resuming exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub revision: Revision,
    /// What it did, in its own order; never empty.
    pub events: Vec<Event>,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher fell so far behind that the changes it has not seen are no longer kept.
    #[error(
        "the watcher fell behind and changes after revision {0} are no longer kept; list again and watch from there"
    )]
    Lagged(Revision),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The changes under a prefix, oldest first, without gaps.
pub struct Watch(Box<dyn ChangeSource>);

/// How an engine feeds a [`Watch`].
#[async_trait]
pub trait ChangeSource: Send {
    /// See [`Watch::next`].
    async fn next(&mut self) -> Result<Change, WatchError>;

    /// See [`Watch::revision`].
    fn revision(&self) -> Revision;
}

impl Watch {
    /// A watch fed by `source`.
    pub fn new(source: impl ChangeSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Waits for the next change. May be dropped while waiting without losing one. After an
    /// error the watch is over.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        self.0.next().await
    }

    /// Everything under the prefix up to and including this revision has been given out; a new
    /// watch may resume from here. It also advances while others' prefixes change.
    pub fn revision(&self) -> Revision {
        self.0.revision()
    }
}
