//! Durable state: a key-value store with revisions, conditional transactions, expiry and
//! watch, and beside it an append-only, hash-chained event log. A state change and the event
//! that records it commit together or not at all.
//!
//! The traits ([`Store`], [`EventLog`]) are the contract; an engine carries them out and proves
//! it with the `conformance` suite. This crate must not know what the values mean, must not
//! read any other crate of ours, and must not answer from a cache: every read is linearizable,
//! because tokens, locks and generations are judged by it.

mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entry;
mod error;
mod event_log;
mod key;
mod range;
mod sqlite;
mod txn;
mod watch;

use async_trait::async_trait;
use jiff::Timestamp;

pub use clock::{Clock, ManualClock, SystemClock};
pub use entry::{Entry, Revision};
pub use error::StoreError;
pub use event_log::{
    ChainHash, Direction, EventFilter, EventLog, Head, NewRecord, Record, RecordSource, Seq, SeqRange, Tail,
    Verification,
};
pub use key::{Key, KeyError};
pub use range::{Page, Range};
pub use sqlite::{OpenError, SqliteOptions, SqliteStore};
pub use txn::{Conflict, Expect, MAX_ACTIONS, MAX_BYTES, Mismatch, Txn, TxnError, Write};
pub use watch::{Change, ChangeSource, Event, Watch, WatchError};

/// Key-value state with revisions.
///
/// All methods are linearizable: what one caller was told is committed, every later call sees.
/// An entry whose expiry has passed is invisible from that moment, whether or not it has been
/// removed yet.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry at `key`, if there is one.
    async fn read(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// One page of the entries under a prefix, in key order.
    async fn range(&self, range: Range) -> Result<Page, StoreError>;

    /// Checks the conditions and, if all hold, applies every write and appends every event in
    /// one durable commit. The inner error says which conditions did not hold and what is there
    /// instead; then nothing was changed.
    ///
    /// An outer error for which [`StoreError::outcome_unknown`] is true may have been applied:
    /// repeat the same transaction, and make it such that a repetition can be recognised.
    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError>;

    /// The changes to `prefix` and everything below it, after revision `from` (from now on
    /// without it). [`StoreError::Compacted`] when that much history is no longer kept: list
    /// again and watch from the list's revision.
    async fn watch(&self, prefix: &Key, from: Option<Revision>) -> Result<Watch, StoreError>;

    /// Gives the entry at `key` a new expiry, provided it still has the `expected` revision.
    /// The value stays; the revision grows. This is how a lease is kept alive.
    async fn renew(
        &self,
        key: &Key,
        expected: Revision,
        expires: Timestamp,
    ) -> Result<Result<Revision, Conflict>, StoreError> {
        let found = self.read(key).await?;
        let expect = Expect::Revision(expected);
        match found {
            Some(entry) if entry.revision == expected => {
                let txn = Txn::new().expect(key.clone(), expect).put_until(key.clone(), entry.value, expires);
                self.commit(txn).await
            }
            found => {
                let mismatches = vec![Mismatch { key: key.clone(), expected: expect, found }];
                Ok(Err(Conflict { mismatches }))
            }
        }
    }
}

/// Everything a service needs of an engine: state and the log of what happened to it.
pub trait Engine: Store + EventLog {}

impl<T: Store + EventLog> Engine for T {}
