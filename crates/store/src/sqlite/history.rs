//! Following changes. The newest are in memory, shared by all watchers, in a ring of bounded
//! size; older ones are read from the history table. A watcher is only a place in that line, so
//! a slow one holds nothing up and a burst cuts nobody off.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use super::read::{self, ANSWER_BYTES, Readers};
use super::rows::{self, ENTRY};
use super::writer::Progress;
use crate::{Change, ChangeSource, Event, Key, Revision, StoreError, WatchError};

/// The most transactions kept in memory.
const RING_CHANGES: usize = 1024;
/// The most bytes of values kept in memory.
const RING_BYTES: usize = 8 * 1024 * 1024;
/// About as many events are read from the table at a time.
const CHUNK: usize = 256;

/// The newest changes.
pub(super) struct Ring(Mutex<Recent>);

struct Recent {
    /// Every change after this one is in the ring.
    floor: Revision,
    /// The last transaction, whether or not it changed an entry.
    newest: Revision,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
}

/// What the ring knows for a watcher.
enum Next {
    Change(Change),
    /// Nothing for it up to this revision.
    Nothing(Revision),
    /// It needs changes the ring no longer has.
    Behind,
}

impl Ring {
    pub(super) fn starting_at(revision: Revision) -> Self {
        let (floor, newest) = (revision, revision);
        Self(Mutex::new(Recent { floor, newest, changes: VecDeque::new(), bytes: 0 }))
    }

    pub(super) fn push(&self, changes: Vec<Change>, newest: Revision) {
        let mut recent = self.lock();
        for change in changes {
            recent.bytes += size(&change);
            recent.changes.push_back(Arc::new(change));
        }
        recent.newest = newest;
        while recent.changes.len() > RING_CHANGES || recent.bytes > RING_BYTES {
            let Some(oldest) = recent.changes.pop_front() else { break };
            recent.bytes -= size(&oldest);
            recent.floor = oldest.revision;
        }
    }

    fn next(&self, prefix: &Key, after: Revision) -> Next {
        let recent = self.lock();
        if after < recent.floor {
            return Next::Behind;
        }
        let start = recent.changes.partition_point(|change| change.revision <= after);
        let unseen = recent.changes.range(start..);
        let next = unseen.filter_map(|change| under(prefix, change.revision, &change.events)).next();
        next.map_or(Next::Nothing(recent.newest), Next::Change)
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn size(change: &Change) -> usize {
    let sizes = change.events.iter().map(|event| match event {
        Event::Put(entry) => Key::MAX_LEN + entry.value.len(),
        Event::Delete { .. } => Key::MAX_LEN,
    });
    sizes.sum()
}

/// The part of a change that lies under the prefix.
fn under(prefix: &Key, revision: Revision, events: &[Event]) -> Option<Change> {
    let events: Vec<Event> = events.iter().filter(|event| event.key().is_under(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Change { revision, events })
}

/// What a watcher needs to follow.
pub(super) struct Follower {
    pub(super) prefix: Key,
    pub(super) ring: Arc<Ring>,
    pub(super) readers: Arc<Readers>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Follower {
    /// Starts after `from`, or at the present.
    pub(super) async fn start(self, from: Option<Revision>) -> Result<Following, StoreError> {
        let (newest, oldest) = self.readers.run(read::bounds).await?;
        let seen = from.unwrap_or(newest);
        if seen < oldest || seen > newest {
            return Err(StoreError::Compacted { requested: seen, oldest, newest });
        }
        Ok(Following { follower: self, seen, loaded: VecDeque::new(), covered: seen })
    }
}

/// A watcher on its way.
pub(super) struct Following {
    follower: Follower,
    /// Given out up to here.
    seen: Revision,
    /// Read from the table, not yet given out.
    loaded: VecDeque<Change>,
    /// What `loaded` reaches to.
    covered: Revision,
}

#[async_trait]
impl ChangeSource for Following {
    async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.loaded.pop_front() {
                self.seen = change.revision;
                return Ok(change);
            }
            self.seen = self.seen.max(self.covered);
            // Marked as seen before looking, so that what comes after the look wakes us.
            self.follower.progress.borrow_and_update();
            match self.follower.ring.next(&self.follower.prefix, self.seen) {
                Next::Change(change) => {
                    self.seen = change.revision;
                    return Ok(change);
                }
                Next::Nothing(newest) => {
                    self.seen = self.seen.max(newest);
                    self.follower.progress.changed().await.map_err(|_| StoreError::Closed)?;
                }
                Next::Behind => self.load().await?,
            }
        }
    }

    fn revision(&self) -> Revision {
        self.seen
    }
}

impl Following {
    async fn load(&mut self) -> Result<(), WatchError> {
        let (after, prefix) = (self.seen, self.follower.prefix.clone());
        let read = self.follower.readers.run(move |connection| chunk(connection, after, &prefix)).await?;
        let Some(Chunk { changes, covered }) = read else {
            return Err(WatchError::Lagged(self.seen));
        };
        self.loaded = changes;
        self.covered = covered;
        Ok(())
    }
}

struct Chunk {
    changes: VecDeque<Change>,
    covered: Revision,
}

/// The next changes after a revision, whole transactions only; none if they are not kept.
fn chunk(connection: &Connection, after: Revision, prefix: &Key) -> rusqlite::Result<Option<Chunk>> {
    let snapshot = connection.unchecked_transaction()?;
    let (newest, oldest) = read::bounds(&snapshot)?;
    if after < oldest {
        return Ok(None);
    }
    let sql = format!("SELECT {ENTRY} FROM history WHERE revision > ?1 ORDER BY revision, id");
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut rows = statement.query([after])?;
    let mut builder = ChunkBuilder::default();
    while let Some(row) = rows.next()? {
        let revision: Revision = row.get(2)?;
        if revision != builder.revision && builder.is_full() {
            let covered = builder.revision;
            return Ok(Some(Chunk { changes: builder.finish(prefix), covered }));
        }
        builder.add(revision, rows::event(row)?, prefix);
    }
    Ok(Some(Chunk { changes: builder.finish(prefix), covered: newest }))
}

#[derive(Default)]
struct ChunkBuilder {
    revision: Revision,
    events: Vec<Event>,
    changes: VecDeque<Change>,
    count: usize,
    bytes: usize,
}

impl ChunkBuilder {
    fn is_full(&self) -> bool {
        self.count >= CHUNK || self.bytes >= ANSWER_BYTES
    }

    fn add(&mut self, revision: Revision, event: Event, prefix: &Key) {
        if revision != self.revision {
            self.close(prefix);
            self.revision = revision;
        }
        self.count += 1;
        self.bytes += if let Event::Put(entry) = &event { entry.value.len() } else { 0 };
        self.events.push(event);
    }

    fn close(&mut self, prefix: &Key) {
        let change = under(prefix, self.revision, &self.events);
        self.events.clear();
        self.changes.extend(change);
    }

    fn finish(mut self, prefix: &Key) -> VecDeque<Change> {
        self.close(prefix);
        self.changes
    }
}
