//! Reading: a bounded pool of connections, used on blocking threads, and what is read of the
//! entries. Every read sees all commits acknowledged before it began.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Statement, ToSql};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::open;
use super::rows::{self, ENTRY, Micros};
use crate::{Entry, Key, Page, Range, Revision, StoreError};

/// A page or an answer is cut short at this many bytes, so that large values cannot fill the
/// memory.
pub(super) const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The connections that read.
pub(super) struct Readers {
    path: Arc<Path>,
    deadline: Duration,
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: Arc<Path>, count: usize, deadline: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(count.max(1)));
        Self { path, deadline, slots, idle: Arc::default() }
    }

    /// Runs `read` on one of the connections.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot = timeout(self.deadline, self.slots.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let (path, idle) = (self.path.clone(), self.idle.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            with_connection(&path, &idle, read).map_err(|error| rows::failure(&path, &error))
        });
        let ended = timeout(self.deadline, task).await.map_err(|_| StoreError::Busy)?;
        ended.map_err(|error| match error.is_panic() {
            true => StoreError::Internal { reason: "a read of it panicked".to_owned() },
            false => StoreError::Closed,
        })?
    }
}

fn with_connection<T>(
    path: &Path,
    idle: &Mutex<Vec<Connection>>,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let take = |idle: &Mutex<Vec<Connection>>| idle.lock().unwrap_or_else(|e| e.into_inner()).pop();
    let connection = match take(idle) {
        Some(connection) => connection,
        None => open::reading(path)?,
    };
    let result = read(&connection);
    // A connection that failed is closed rather than trusted again.
    if result.is_ok() {
        idle.lock().unwrap_or_else(|e| e.into_inner()).push(connection);
    }
    result
}

/// The visible entry at `key`.
pub(super) fn entry(connection: &Connection, key: &Key, now: Timestamp) -> rusqlite::Result<Option<Entry>> {
    let sql = format!("SELECT {ENTRY} FROM entries WHERE key = ?1 AND (expires IS NULL OR expires > ?2)");
    connection.prepare_cached(&sql)?.query_row((key, Micros(now)), rows::entry).optional()
}

/// One page of a listing and the revision it shows, from one snapshot.
pub(super) fn page(connection: &Connection, range: &Range, now: Timestamp) -> rusqlite::Result<Page> {
    let snapshot = connection.unchecked_transaction()?;
    let revision = snapshot.query_row("SELECT revision FROM progress", [], |row| row.get(0))?;
    let mut page = Page { entries: Vec::new(), revision, next: None };
    let mut room = Room { entries: range.limit.clamp(1, Range::MAX_LIMIT), bytes: ANSWER_BYTES };

    if range.after.as_ref().is_none_or(|after| *after < range.prefix)
        && let Some(entry) = entry(&snapshot, &range.prefix, now)?
    {
        room.take(&entry);
        page.entries.push(entry);
    }
    let (low, high) = below(&range.prefix);
    let after = range.after.as_ref().map_or("", Key::as_str);
    let sql = format!(
        "SELECT {ENTRY} FROM entries WHERE key >= ?1 AND key < ?2 AND key > ?3 \
         AND (expires IS NULL OR expires > ?4) ORDER BY key"
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    fill(&mut page, room, &mut statement, &[&low, &high, &after, &Micros(now)])?;
    Ok(page)
}

struct Room {
    entries: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, entry: &Entry) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.value.len());
    }

    fn is_used_up(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }
}

fn fill(
    page: &mut Page,
    mut room: Room,
    statement: &mut Statement<'_>,
    bounds: &[&dyn ToSql],
) -> rusqlite::Result<()> {
    let mut rows = statement.query(bounds)?;
    while let Some(row) = rows.next()? {
        if room.is_used_up() {
            page.next = page.entries.last().map(|entry| entry.key.clone());
            return Ok(());
        }
        let entry = rows::entry(row)?;
        room.take(&entry);
        page.entries.push(entry);
    }
    Ok(())
}

/// The keys strictly below `prefix` are those from the first text to before the second: `0`
/// follows `/` in ASCII.
fn below(prefix: &Key) -> (String, String) {
    let parent = if prefix.is_root() { "" } else { prefix.as_str() };
    (format!("{parent}/"), format!("{parent}0"))
}

/// How far the store is and how far back its history goes, in this order.
pub(super) fn bounds(connection: &Connection) -> rusqlite::Result<(Revision, Revision)> {
    connection
        .prepare_cached("SELECT revision, compacted FROM progress")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

#[cfg(test)]
mod tests {
    use super::{Readers, StoreError};
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_mistake_of_ours_is_not_called_damage_or_a_shutdown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let readers = Readers::new(Arc::from(file.path()), 1, Duration::from_secs(5));
        let panicked: Result<(), _> = readers.run(|_| panic!("in a read")).await;
        assert!(matches!(panicked, Err(StoreError::Internal { .. })), "{panicked:?}");
        let nonsense = readers.run(|connection| connection.execute("SELEKT 1", ())).await;
        assert!(matches!(nonsense, Err(StoreError::Internal { .. })), "{nonsense:?}");
        let parameters = readers.run(|connection| connection.execute("SELECT ?1", ())).await;
        assert!(matches!(parameters, Err(StoreError::Internal { .. })), "{parameters:?}");
        let missing =
            readers.run(|connection| connection.query_row("SELECT 1 WHERE 0", (), |_| Ok(()))).await;
        assert!(matches!(missing, Err(StoreError::Damaged { .. })), "{missing:?}");
        let other =
            readers.run(|connection| connection.query_row("SELECT 'x'", (), |row| row.get::<_, i64>(0)));
        let other = other.await;
        assert!(matches!(other, Err(StoreError::Damaged { .. })), "{other:?}");
        readers.run(|_| Ok(())).await.expect("it still reads");
    }
}
