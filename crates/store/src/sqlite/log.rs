//! Reading the event log: queries, following, and walking the chain.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokio::sync::watch;

use super::read::{ANSWER_BYTES, Readers};
use super::rows::{self, RECORD};
use super::writer::Progress;
use crate::{Direction, EventFilter, Head, Record, RecordSource, Seq, StoreError, Verification};

/// Records read at a time where nobody asked for a number.
const CHUNK: usize = 256;

/// The records that pass the filter, cut short when they grow too large for one answer.
pub(super) fn query(connection: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<Record>> {
    let (sql, values) = statement(filter);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let record = rows::record(row)?;
        bytes += record.body.len();
        records.push(record);
        if bytes >= ANSWER_BYTES {
            break;
        }
    }
    Ok(records)
}

fn statement(filter: &EventFilter) -> (String, Vec<Value>) {
    let EventFilter { from, to, names, after, limit: _, direction } = filter;
    let (order, beyond) = match direction {
        Direction::Ascending => ("ASC", ">"),
        Direction::Descending => ("DESC", "<"),
    };
    let mut conditions = vec!["TRUE".to_owned()];
    let mut values = Vec::new();
    let mut compare = |column: &str, operator: &str, number: Option<i64>| {
        if let Some(number) = number {
            conditions.push(format!("{column} {operator} ?"));
            values.push(Value::Integer(number));
        }
    };
    compare("time", ">=", from.map(|time| time.as_microsecond()));
    compare("time", "<", to.map(|time| time.as_microsecond()));
    compare("seq", beyond, after.map(Seq::number));
    if !names.is_empty() {
        conditions.push(format!("name IN ({})", vec!["?"; names.len()].join(", ")));
        values.extend(names.iter().cloned().map(Value::Text));
    }
    let conditions = conditions.join(" AND ");
    let limit = filter.effective_limit();
    (format!("SELECT {RECORD} FROM records WHERE {conditions} ORDER BY seq {order} LIMIT {limit}"), values)
}

/// The end of the chain as it was written down with the last append.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    Progress::load(connection).map(|progress| progress.head)
}

/// Follows the log from a record on.
pub(super) struct LogTail {
    seen: Seq,
    loaded: VecDeque<Record>,
    readers: Arc<Readers>,
    progress: watch::Receiver<Progress>,
}

impl LogTail {
    pub(super) fn new(after: Seq, readers: Arc<Readers>, progress: watch::Receiver<Progress>) -> Self {
        Self { seen: after, loaded: VecDeque::new(), readers, progress }
    }
}

#[async_trait]
impl RecordSource for LogTail {
    async fn next(&mut self) -> Result<Record, StoreError> {
        loop {
            if let Some(record) = self.loaded.pop_front() {
                self.seen = record.seq;
                return Ok(record);
            }
            if self.progress.borrow_and_update().head.seq <= self.seen {
                self.progress.changed().await.map_err(|_| StoreError::Closed)?;
                continue;
            }
            let filter = EventFilter { after: Some(self.seen), limit: CHUNK, ..EventFilter::default() };
            self.loaded = self.readers.run(move |connection| query(connection, &filter)).await?.into();
        }
    }
}

/// Walks the chain piece by piece, so that it holds no reader for long and nothing in memory.
pub(super) async fn verify(readers: &Readers) -> Result<Verification, StoreError> {
    let mut walked = Head::EMPTY;
    loop {
        match readers.run(move |connection| walk(connection, walked)).await? {
            Step::Further(head) => walked = head,
            Step::Done(verification) => return Ok(verification),
        }
    }
}

enum Step {
    Further(Head),
    Done(Verification),
}

fn walk(connection: &Connection, from: Head) -> rusqlite::Result<Step> {
    let snapshot = connection.unchecked_transaction()?;
    let end = head(&snapshot)?;
    let filter = EventFilter { after: Some(from.seq), ..EventFilter::default() };
    let records = query(&snapshot, &filter)?;
    if records.is_empty() {
        let cut_off = from != end;
        let broken = Verification::Broken(from.seq.min(end.seq).next());
        return Ok(Step::Done(if cut_off { broken } else { Verification::Intact(end) }));
    }
    let mut walked = from;
    for record in records {
        if record.seq != walked.seq.next() || record.seq > end.seq || !record.follows(&walked.hash) {
            return Ok(Step::Done(Verification::Broken(walked.seq.next())));
        }
        walked = Head { seq: record.seq, hash: record.hash };
    }
    Ok(Step::Further(walked))
}
