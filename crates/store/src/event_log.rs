//! The append-only log of what happened. Each record carries a hash over itself and the hash
//! before it, computed by the one writer, so that a record that was altered, removed or
//! reordered afterwards shows.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use jiff::Timestamp;

use crate::StoreError;

/// The append-only log of an engine.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends the records, in order and together. They are durable when this returns. To
    /// append them together with a change of state, use [`crate::Txn::event`].
    async fn append(&self, records: Vec<NewRecord>) -> Result<SeqRange, StoreError>;

    /// The records that pass the filter, as many as fit an answer: the next part starts after
    /// the last one given, and an empty answer is the end.
    async fn query(&self, filter: EventFilter) -> Result<Vec<Record>, StoreError>;

    /// Follows the log: first what is there after `after`, then what comes.
    async fn tail(&self, after: Seq) -> Result<Tail, StoreError>;

    /// The last record's number and hash. Whoever keeps it elsewhere can later prove that
    /// nothing up to there was rewritten.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Walks the whole chain.
    async fn verify(&self) -> Result<Verification, StoreError>;
}

/// The number of a record: 1, 2, 3, ... without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(i64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The record with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The record after it.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Consecutive records, `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// A record as it is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// When it happened; microseconds, finer digits are cut off.
    pub time: Timestamp,
    /// What happened, for example `bot.join`.
    pub name: String,
    /// Its stable code, for example `TJ001I`.
    pub code: String,
    /// The details, in a form the log does not look into.
    pub body: Bytes,
}

impl NewRecord {
    /// The bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.code.len() + self.body.len()
    }
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// See [`NewRecord::time`].
    pub time: Timestamp,
    /// See [`NewRecord::name`].
    pub name: String,
    /// See [`NewRecord::code`].
    pub code: String,
    /// See [`NewRecord::body`].
    pub body: Bytes,
    /// Over everything above and the record before; see [`ChainHash::next`].
    pub hash: ChainHash,
}

impl Record {
    /// True if its hash is the one of a record with this content after `previous`.
    pub fn follows(&self, previous: &ChainHash) -> bool {
        let parts = [self.name.as_bytes(), self.code.as_bytes(), &self.body];
        self.hash == previous.link(self.seq, self.time, parts)
    }
}

/// A link of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first record.
    pub const START: Self = Self([0; 32]);

    /// The hash with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 over: this hash; the record's number; its time in microseconds since 1970; then
    /// name, code and body, each after its length. Numbers are 8 bytes, big-endian.
    #[must_use]
    pub fn next(&self, seq: Seq, record: &NewRecord) -> Self {
        self.link(seq, record.time, [record.name.as_bytes(), record.code.as_bytes(), &record.body])
    }

    fn link(&self, seq: Seq, time: Timestamp, parts: [&[u8]; 3]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(&seq.number().to_be_bytes());
        context.update(&time.as_microsecond().to_be_bytes());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last record; [`Seq::ZERO`] in an empty log.
    pub seq: Seq,
    /// Its hash; [`ChainHash::START`] in an empty log.
    pub hash: ChainHash,
}

impl Head {
    /// The head of an empty log.
    pub const EMPTY: Self = Self { seq: Seq::ZERO, hash: ChainHash::START };
}

/// Which records a query gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Only these event names; any when empty.
    pub names: Vec<String>,
    /// Continue after this record, in the direction of the query.
    pub after: Option<Seq>,
    /// At most this many; [`EventFilter::MAX_LIMIT`] in any case, and when zero.
    pub limit: usize,
    /// Oldest or newest first.
    pub direction: Direction,
}

impl EventFilter {
    /// The most records in one answer.
    pub const MAX_LIMIT: usize = 1000;

    /// The limit that applies.
    pub fn effective_limit(&self) -> usize {
        if self.limit == 0 { Self::MAX_LIMIT } else { self.limit.min(Self::MAX_LIMIT) }
    }
}

/// The order of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// The result of walking the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every link holds, up to this head.
    Intact(Head),
    /// The first record that is missing, out of place or not what was written.
    Broken(Seq),
}

/// The log as it grows.
pub struct Tail(Box<dyn RecordSource>);

/// How an engine feeds a [`Tail`].
#[async_trait]
pub trait RecordSource: Send {
    /// See [`Tail::next`].
    async fn next(&mut self) -> Result<Record, StoreError>;
}

impl Tail {
    /// A tail fed by `source`.
    pub fn new(source: impl RecordSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Waits for the next record. May be dropped while waiting without losing one.
    pub async fn next(&mut self) -> Result<Record, StoreError> {
        self.0.next().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, code: &str, body: &str) -> NewRecord {
        let time = Timestamp::from_second(1_700_000_000).expect("a valid time");
        NewRecord {
            time,
            name: name.into(),
            code: code.into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn the_link_depends_on_every_part() {
        let base = ChainHash::START.next(Seq(1), &record("a", "b", "c"));
        let later = NewRecord { time: Timestamp::UNIX_EPOCH, ..record("a", "b", "c") };
        let others = [
            ChainHash([1; 32]).next(Seq(1), &record("a", "b", "c")),
            ChainHash::START.next(Seq(2), &record("a", "b", "c")),
            ChainHash::START.next(Seq(1), &later),
            ChainHash::START.next(Seq(1), &record("ab", "", "c")),
            ChainHash::START.next(Seq(1), &record("a", "bc", "")),
            ChainHash::START.next(Seq(1), &record("a", "b", "d")),
        ];
        for other in others {
            assert_ne!(base, other);
        }
    }

    /// The format is a promise: whoever has exported records must be able to check them for
    /// ever.
    #[test]
    fn the_link_is_stable() {
        let hash = ChainHash::START.next(Seq(1), &record("bot.join", "TJ001I", "{}"));
        assert_eq!(hash.to_string(), "f642f7e9aa3afc9594e270b78b7c66442e4ebbd5f35eb145071bd29ce77fca64");
    }
}
