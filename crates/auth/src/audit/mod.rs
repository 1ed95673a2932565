//! The audit log: what happened, who did it, and that nobody changed the record afterwards.
//!
//! An event that belongs to a change of state goes into the same transaction
//! ([`AuditLog::record`]); one that stands alone is emitted. Both are durable before the caller
//! goes on. Hosts send theirs as reports, of the kinds they may report. The log must not
//! interpret events, and nothing else may write to the store's event log.

mod bounds;
mod event;
mod export;
pub mod kind;
mod lines;
mod report;

use std::sync::Arc;

use store::{Clock, Engine, EventFilter, Head, NewRecord, Record, Seq, StoreError, Tail, Verification};
use uuid::Uuid;

pub use event::{Event, UserKind, masked};
pub use export::Export;
pub use kind::{Kind, Origin};
pub use report::{Report, ReportError};

/// The audit log of a cluster.
#[derive(Clone)]
pub struct AuditLog {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    cluster: Arc<str>,
}

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number.
    pub seq: Seq,
    /// The event as a JSON object on one line: its fields, its number (`ei`) and its hash. The
    /// text without the last two is the body that the hash covers.
    pub json: String,
    /// Its link of the chain.
    pub hash: store::ChainHash,
}

impl AuditLog {
    /// The log of `cluster`, kept in `engine`.
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, cluster: &str) -> Self {
        Self { engine, clock, cluster: Arc::from(cluster) }
    }

    /// The event as a record for [`store::Txn::event`]: it is kept if the transaction happens.
    pub fn record(&self, event: Event) -> NewRecord {
        let time = self.clock.now();
        let kind = event.kind;
        let body = event.body(time, Uuid::new_v4(), &self.cluster);
        NewRecord { time, name: kind.event.into(), code: kind.code.into(), body: body.into() }
    }

    /// Keeps an event that belongs to no change of state. Durable when this returns.
    pub async fn emit(&self, event: Event) -> Result<Seq, StoreError> {
        Ok(self.engine.append(vec![self.record(event)]).await?.last)
    }

    /// The events that pass the filter; the next part starts after the last one given, and an
    /// empty answer is the end.
    pub async fn search(&self, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let records = self.engine.query(filter).await?;
        Ok(records.iter().map(StoredEvent::from).collect())
    }

    /// Follows the log from after an event, or from now on.
    pub async fn tail(&self, after: Option<Seq>) -> Result<EventTail, StoreError> {
        let after = match after {
            Some(after) => after,
            None => self.engine.head().await?.seq,
        };
        Ok(EventTail(self.engine.tail(after).await?))
    }

    /// Walks the chain and tells the first event that is not as it was written.
    pub async fn verify(&self) -> Result<Verification, StoreError> {
        self.engine.verify().await
    }

    /// The last event's number and hash.
    pub async fn head(&self) -> Result<Head, StoreError> {
        self.engine.head().await
    }
}

/// Events as they come.
pub struct EventTail(Tail);

impl EventTail {
    /// Waits for the next event. May be dropped while waiting without losing one.
    pub async fn next(&mut self) -> Result<StoredEvent, StoreError> {
        Ok(StoredEvent::from(&self.0.next().await?))
    }
}

impl From<&Record> for StoredEvent {
    fn from(record: &Record) -> Self {
        Self { seq: record.seq, json: lines::line(record), hash: record.hash }
    }
}
