//! What each request does to the tables, inside a transaction that somebody else commits.

use jiff::Timestamp;
use rusqlite::Connection;

use super::read;
use super::rows::Micros;
use super::writer::Progress;
use crate::{
    Change, Conflict, Entry, Event, Expect, Head, Key, Mismatch, NewRecord, Revision, SeqRange, Txn, Write,
};

/// How much one sweep removes before others get their turn.
const SWEEP: i64 = 1000;

/// A group under way: where the store will stand once it is committed, and what watchers will
/// then be told.
pub(super) struct Draft {
    pub(super) progress: Progress,
    pub(super) changes: Vec<Change>,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(progress: Progress, now: Timestamp) -> Self {
        Self { progress, changes: Vec::new(), now }
    }

    pub(super) fn mark(&self) -> (Progress, usize) {
        (self.progress, self.changes.len())
    }

    pub(super) fn rewind(&mut self, (progress, changes): (Progress, usize)) {
        self.progress = progress;
        self.changes.truncate(changes);
    }

    fn record(&mut self, revision: Revision, events: Vec<Event>) {
        self.progress.revision = revision;
        if !events.is_empty() {
            self.changes.push(Change { revision, events });
        }
    }
}

/// Judges the conditions, then does everything the transaction asks for.
pub(super) fn commit(
    connection: &Connection,
    draft: &mut Draft,
    txn: &Txn,
) -> rusqlite::Result<Result<Revision, Conflict>> {
    let mismatches = judge(connection, txn, draft.now)?;
    if !mismatches.is_empty() {
        return Ok(Err(Conflict { mismatches }));
    }
    let revision = draft.progress.revision.next();
    let mut events = Vec::with_capacity(txn.writes.len());
    for write in &txn.writes {
        events.extend(apply(connection, write, revision, draft.now)?);
    }
    remember(connection, revision, &events)?;
    draft.record(revision, events);
    append(connection, draft, &txn.events)?;
    Ok(Ok(revision))
}

fn judge(connection: &Connection, txn: &Txn, now: Timestamp) -> rusqlite::Result<Vec<Mismatch>> {
    let mut mismatches = Vec::new();
    for (key, expected) in &txn.conditions {
        if *expected == Expect::Any {
            continue;
        }
        let found = read::entry(connection, key, now)?;
        if !expected.holds(found.as_ref()) {
            mismatches.push(Mismatch { key: key.clone(), expected: *expected, found });
        }
    }
    Ok(mismatches)
}

fn apply(
    connection: &Connection,
    write: &Write,
    revision: Revision,
    now: Timestamp,
) -> rusqlite::Result<Option<Event>> {
    match write {
        Write::Put { key, value, expires } => {
            // An expired entry that was not swept yet is no longer there: the new one begins anew.
            let sql = "INSERT INTO entries (key, value, revision, created, expires) VALUES (?1, ?2, ?3, ?3, ?4) \
                       ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3, expires = ?4, \
                       created = iif(expires <= ?5, ?3, created) RETURNING created";
            let created = connection
                .prepare_cached(sql)?
                .query_row((key, &value[..], revision, expires.map(Micros), Micros(now)), |row| row.get(0))?;
            let expires = expires.and_then(|time| Timestamp::from_microsecond(time.as_microsecond()).ok());
            let (key, value) = (key.clone(), value.clone());
            Ok(Some(Event::Put(Entry { key, value, revision, created, expires })))
        }
        Write::Delete { key } => {
            let removed = connection.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([key])?;
            Ok((removed > 0).then_some(Event::Delete { key: key.clone(), revision }))
        }
    }
}

/// Keeps what happened for watchers that resume.
fn remember(connection: &Connection, revision: Revision, events: &[Event]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO history (revision, key, value, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = connection.prepare_cached(sql)?;
    for event in events {
        match event {
            Event::Put(Entry { key, value, revision, created, expires }) => {
                insert.execute((revision, key, &value[..], created, expires.map(Micros)))?
            }
            Event::Delete { key, revision: _ } => {
                insert.execute((revision, key, None::<&[u8]>, None::<Revision>, None::<Micros>))?
            }
        };
    }
    Ok(())
}

/// Appends to the log, each record chained to the one before.
pub(super) fn append(
    connection: &Connection,
    draft: &mut Draft,
    records: &[NewRecord],
) -> rusqlite::Result<SeqRange> {
    let first = draft.progress.head.seq.next();
    let sql = "INSERT INTO records (seq, time, name, code, body, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = connection.prepare_cached(sql)?;
    for record in records {
        let Head { seq, hash } = draft.progress.head;
        let head = Head { seq: seq.next(), hash: hash.next(seq.next(), record) };
        let NewRecord { time, name, code, body } = record;
        insert.execute((head.seq, Micros(*time), name, code, &body[..], head.hash))?;
        draft.progress.head = head;
    }
    Ok(SeqRange { first, last: draft.progress.head.seq })
}

/// Writes down where the store stands; the last act of a transaction.
pub(super) fn advance(connection: &Connection, draft: &Draft) -> rusqlite::Result<()> {
    let Progress { revision, head } = draft.progress;
    connection
        .prepare_cached(
            "UPDATE progress SET revision = ?1, log_seq = ?2, log_hash = ?3 WHERE (revision, log_seq) <> (?1, ?2)",
        )?
        .execute((revision, head.seq, head.hash))?;
    Ok(())
}

/// Removes a batch of expired entries as one transaction. True if there may be more.
pub(super) fn sweep_expired(connection: &Connection, draft: &mut Draft) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM entries WHERE rowid IN \
               (SELECT rowid FROM entries WHERE expires <= ?1 ORDER BY expires LIMIT ?2) RETURNING key";
    let mut delete = connection.prepare_cached(sql)?;
    let keys = delete.query_map((Micros(draft.now), SWEEP), |row| row.get(0))?;
    let keys: Vec<Key> = keys.collect::<rusqlite::Result<_>>()?;
    if keys.is_empty() {
        return Ok(false);
    }
    let more = keys.len() as i64 == SWEEP;
    let revision = draft.progress.revision.next();
    let events: Vec<Event> = keys.into_iter().map(|key| Event::Delete { key, revision }).collect();
    remember(connection, revision, &events)?;
    draft.record(revision, events);
    Ok(more)
}

/// Drops a batch of history older than `keep` transactions. True if there may be more.
pub(super) fn drop_history(connection: &Connection, draft: &Draft, keep: i64) -> rusqlite::Result<bool> {
    let (_, compacted) = read::bounds(connection)?;
    let target = draft.progress.revision.number() - keep;
    let upto = Revision::new(target.min(compacted.number() + SWEEP));
    if upto <= compacted {
        return Ok(false);
    }
    connection.prepare_cached("DELETE FROM history WHERE revision <= ?1")?.execute([upto])?;
    connection.prepare_cached("UPDATE progress SET compacted = ?1")?.execute([upto])?;
    Ok(upto.number() < target)
}
