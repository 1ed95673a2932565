//! The default engine: one SQLite file, one writer thread, a few reading connections.
//!
//! WAL with `synchronous=FULL`: an acknowledged commit survives a kill and a power cut. The file
//! belongs to one process, which the lock beside it enforces.

mod apply;
mod file;
mod history;
mod log;
mod open;
mod read;
mod rows;
mod schema;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use open::OpenError;

use crate::{
    Clock, Conflict, Entry, EventFilter, EventLog, Head, Key, NewRecord, Page, Range, Record, Revision, Seq,
    SeqRange, Store, StoreError, SystemClock, Tail, Txn, Verification, Watch,
};
use file::Lock;
use history::Ring;
use read::Readers;
use writer::{Progress, Queue, Work};

/// How a store is run. The defaults are right for an auth server.
#[derive(Clone)]
pub struct SqliteOptions {
    /// What expiry is judged by.
    pub clock: Arc<dyn Clock>,
    /// How often expired entries are removed and old history is dropped.
    pub sweep_every: Duration,
    /// How many transactions watchers can fall behind or resume over.
    pub history: u32,
    /// How long a caller waits for an answer.
    pub deadline: Duration,
    /// How many writes may wait for the writer.
    pub queue: usize,
    /// How many reads run at once.
    pub readers: usize,
    /// How large the file may grow, in bytes; a write beyond it gets [`StoreError::Full`].
    pub max_size: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            sweep_every: Duration::from_secs(1),
            history: 16_384,
            deadline: Duration::from_secs(10),
            queue: 1024,
            readers: 4,
            max_size: None,
        }
    }
}

/// An open SQLite store. Dropping it finishes the writes that were queued and closes the file.
pub struct SqliteStore {
    clock: Arc<dyn Clock>,
    // Declared before the lock: the writer ends and the file is closed, then the lock is given up.
    queue: Queue,
    readers: Arc<Readers>,
    ring: Arc<Ring>,
    progress: watch::Receiver<Progress>,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store at `path`, making it if there is none and bringing an older one up to
    /// the present schema. Blocks; meant for the start of a program.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let path: Arc<Path> = Arc::from(path.as_ref());
        let lock = file::prepare(&path)?;
        let connection = open::writing(&path, options.max_size)?;
        let progress = writer::Progress::load(&connection).map_err(|error| rows::failure(&path, &error))?;
        let (announce, announced) = watch::channel(progress);
        let ring = Arc::new(Ring::starting_at(progress.revision));
        let readers = Arc::new(Readers::new(path.clone(), options.readers, options.deadline));
        let queue = Queue::start(connection, path, &options, announce, ring.clone())?;
        Ok(Self { clock: options.clock, queue, readers, ring, progress: announced, _lock: lock })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.readers.run(move |connection| read::entry(connection, &key, now)).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        let now = self.clock.now();
        self.readers.run(move |connection| read::page(connection, &range, now)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        txn.check()?;
        self.queue.submit(|job| Work::Commit(txn, job)).await
    }

    async fn watch(&self, prefix: &Key, from: Option<Revision>) -> Result<Watch, StoreError> {
        let source = history::Follower {
            prefix: prefix.clone(),
            ring: self.ring.clone(),
            readers: self.readers.clone(),
            progress: self.progress.clone(),
        };
        source.start(from).await.map(Watch::new)
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn append(&self, records: Vec<NewRecord>) -> Result<SeqRange, StoreError> {
        let txn = Txn { events: records, ..Txn::default() };
        txn.check()?;
        self.queue.submit(|job| Work::Append(txn.events, job)).await
    }

    async fn query(&self, filter: EventFilter) -> Result<Vec<Record>, StoreError> {
        self.readers.run(move |connection| log::query(connection, &filter)).await
    }

    async fn tail(&self, after: Seq) -> Result<Tail, StoreError> {
        Ok(Tail::new(log::LogTail::new(after, self.readers.clone(), self.progress.clone())))
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.readers.run(log::head).await
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        log::verify(&self.readers).await
    }
}
