//! Transactions: conditions, writes and events that happen together or not at all.

use std::collections::HashSet;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{Entry, Key, NewRecord};

/// The most conditions, and the most writes and events together, in one transaction (what etcd
/// allows by default, so that any engine can hold it).
pub const MAX_ACTIONS: usize = 128;

/// The most bytes of values and event bodies in one transaction.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What must be true of a key for a transaction to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No entry is visible there.
    Absent,
    /// Some entry is visible there.
    Present,
    /// The entry there was last written at this revision.
    Revision(crate::Revision),
    /// Nothing in particular.
    Any,
}

impl Expect {
    /// True if `found` is what was expected.
    pub fn holds(self, found: Option<&Entry>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found.is_some_and(|entry| entry.revision == revision),
            Self::Any => true,
        }
    }
}

/// A change to one key.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Writes the value, replacing what was there and its expiry.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// Until when it is visible; for ever without.
        expires: Option<Timestamp>,
    },
    /// Removes the entry; nothing happens if there is none.
    Delete {
        /// Where.
        key: Key,
    },
}

impl Write {
    /// The key it changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Values may be secrets, so only their length is shown.
impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put { key, value, expires } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value", &format_args!("{} bytes", value.len()))
                .field("expires", expires)
                .finish(),
            Self::Delete { key } => f.debug_struct("Delete").field("key", key).finish(),
        }
    }
}

/// A transaction, built up and then given to [`crate::Store::commit`].
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// What must hold; each key once.
    pub conditions: Vec<(Key, Expect)>,
    /// What to change; each key once.
    pub writes: Vec<Write>,
    /// What to append to the event log.
    pub events: Vec<NewRecord>,
}

/// Why a transaction was refused before it was tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    /// More than [`MAX_ACTIONS`] conditions, or writes and events.
    #[error("it has {0} conditions, or writes and events; at most {MAX_ACTIONS} are allowed, split it")]
    TooManyActions(usize),
    /// More than [`MAX_BYTES`] of values and bodies.
    #[error("it carries {0} bytes; at most {MAX_BYTES} are allowed, split it or store less")]
    TooLarge(usize),
    /// One key has two conditions or two writes.
    #[error("the key {0} occurs twice")]
    RepeatedKey(Key),
    /// The root is a prefix, not a place.
    #[error("nothing can be stored at /")]
    Root,
}

impl Txn {
    /// Does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Happens only if `key` is as expected.
    pub fn expect(mut self, key: Key, expect: Expect) -> Self {
        self.conditions.push((key, expect));
        self
    }

    /// Writes `value` at `key`, without expiry.
    pub fn put(self, key: Key, value: impl Into<Bytes>) -> Self {
        self.write(Write::Put { key, value: value.into(), expires: None })
    }

    /// Writes `value` at `key`, visible until `expires`.
    pub fn put_until(self, key: Key, value: impl Into<Bytes>, expires: Timestamp) -> Self {
        self.write(Write::Put { key, value: value.into(), expires: Some(expires) })
    }

    /// Removes what is at `key`.
    pub fn delete(self, key: Key) -> Self {
        self.write(Write::Delete { key })
    }

    /// Adds a write.
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Appends `record` to the event log if, and only if, the writes happen.
    pub fn event(mut self, record: NewRecord) -> Self {
        self.events.push(record);
        self
    }

    /// Checks the bounds every engine holds to.
    pub fn check(&self) -> Result<(), TxnError> {
        for count in [self.conditions.len(), self.writes.len() + self.events.len()] {
            if count > MAX_ACTIONS {
                return Err(TxnError::TooManyActions(count));
            }
        }
        let size = self.size();
        if size > MAX_BYTES {
            return Err(TxnError::TooLarge(size));
        }
        distinct(self.conditions.iter().map(|(key, _)| key))?;
        distinct(self.writes.iter().map(Write::key))?;
        if self.writes.iter().any(|write| write.key().is_root()) {
            return Err(TxnError::Root);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let values = self.writes.iter().map(|write| match write {
            Write::Put { value, .. } => value.len(),
            Write::Delete { .. } => 0,
        });
        values.chain(self.events.iter().map(NewRecord::size)).sum()
    }
}

fn distinct<'a>(keys: impl Iterator<Item = &'a Key>) -> Result<(), TxnError> {
    let mut seen = HashSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(TxnError::RepeatedKey(key.clone()));
        }
    }
    Ok(())
}

/// The conditions that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} changed in the meantime; read again and retry", keys(.mismatches))]
pub struct Conflict {
    /// In the order of the transaction's conditions.
    pub mismatches: Vec<Mismatch>,
}

impl Conflict {
    /// The mismatch at `key`, if its condition was one of those that did not hold.
    pub fn at(&self, key: &Key) -> Option<&Mismatch> {
        self.mismatches.iter().find(|mismatch| mismatch.key == *key)
    }
}

/// One condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where.
    pub key: Key,
    /// What the transaction asked for.
    pub expected: Expect,
    /// What is there.
    pub found: Option<Entry>,
}

fn keys(mismatches: &[Mismatch]) -> String {
    let keys: Vec<&str> = mismatches.iter().map(|mismatch| mismatch.key.as_str()).collect();
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key::new(&format!("/k/{n}")).expect("a valid key")
    }

    #[test]
    fn a_transaction_within_the_bounds_is_accepted() {
        let mut txn = Txn::new();
        for n in 0..MAX_ACTIONS {
            txn = txn.expect(key(n), Expect::Absent).put(key(n), "v");
        }
        assert_eq!(txn.check(), Ok(()));
    }

    #[test]
    fn bounds_are_enforced() {
        let mut many = Txn::new();
        for n in 0..=MAX_ACTIONS {
            many = many.delete(key(n));
        }
        let table = [
            (many, TxnError::TooManyActions(MAX_ACTIONS + 1)),
            (Txn::new().put(key(1), vec![0; MAX_BYTES + 1]), TxnError::TooLarge(MAX_BYTES + 1)),
            (Txn::new().put(key(1), "a").delete(key(1)), TxnError::RepeatedKey(key(1))),
            (
                Txn::new().expect(key(1), Expect::Any).expect(key(1), Expect::Absent),
                TxnError::RepeatedKey(key(1)),
            ),
            (Txn::new().put(Key::root(), "a"), TxnError::Root),
        ];
        for (txn, error) in table {
            assert_eq!(txn.check(), Err(error));
        }
    }
}
