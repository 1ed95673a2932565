//! What is stored at a key, and the counter that orders all changes.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;

use crate::Key;

/// A point in the store's history. One counter for the whole store; it grows by one with each
/// committed transaction, and everything a transaction wrote carries the same revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// Before the first transaction.
    pub const ZERO: Self = Self(0);

    /// The revision with this number, as read back from where [`Revision::number`] was kept.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The revision of the next transaction.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub key: Key,
    /// What it is.
    pub value: Bytes,
    /// The transaction that wrote it last.
    pub revision: Revision,
    /// The transaction that made it. A key that was removed and written again has a new one.
    pub created: Revision,
    /// When it ceases to be visible; microseconds, finer digits are cut off.
    pub expires: Option<Timestamp>,
}

impl Entry {
    /// True if the entry is no longer visible at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Values may be secrets, so only their length is shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("revision", &self.revision)
            .field("created", &self.created)
            .field("expires", &self.expires)
            .finish()
    }
}
