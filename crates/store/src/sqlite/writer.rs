//! The one thread that writes. It takes whatever is queued, carries each request out in a
//! savepoint of its own, and commits them together: one sync for all. A lone request is never
//! kept waiting for company.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant as Deadline, timeout_at};

use super::apply::{self, Draft};
use super::history::Ring;
use super::{SqliteOptions, rows};
use crate::{Clock, Conflict, Head, NewRecord, Revision, SeqRange, StoreError, Txn};

/// The most requests in one commit.
const GROUP: usize = 64;

/// Where a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last transaction.
    pub(super) revision: Revision,
    /// The end of the log.
    pub(super) head: Head,
}

impl Progress {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row("SELECT revision, log_seq, log_hash FROM progress", [], |row| {
            Ok(Self { revision: row.get(0)?, head: Head { seq: row.get(1)?, hash: row.get(2)? } })
        })
    }
}

/// What the writer can be asked to do.
pub(super) enum Work {
    Commit { txn: Txn, reply: Reply<Result<Revision, Conflict>> },
    Append { records: Vec<NewRecord>, reply: Reply<SeqRange> },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

impl Work {
    /// Nobody waits any more, so nobody can be misled if it is not done.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Commit { reply, .. } => reply.is_closed(),
            Self::Append { reply, .. } => reply.is_closed(),
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Commit { reply, .. } => drop(reply.send(Err(error))),
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

struct Request {
    work: Work,
    _place: OwnedSemaphorePermit,
}

/// The way to the writer. Bounded: who finds no place before the deadline is turned away.
pub(super) struct Queue {
    places: Arc<Semaphore>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    deadline: Duration,
}

impl Queue {
    pub(super) fn start(
        connection: Connection,
        path: Arc<Path>,
        options: &SqliteOptions,
        announce: watch::Sender<Progress>,
        ring: Arc<Ring>,
    ) -> Result<Self, StoreError> {
        let (requests, incoming) = mpsc::channel();
        let writer = Writer {
            connection,
            path: path.clone(),
            clock: options.clock.clone(),
            history: i64::from(options.history),
            sweep_every: options.sweep_every,
            next_sweep: Instant::now(),
            announce,
            ring,
        };
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&incoming))
            .map_err(|error| StoreError::Io { path: path.to_path_buf(), reason: error.to_string() })?;
        Ok(Self {
            places: Arc::new(Semaphore::new(options.queue.max(1))),
            requests: Some(requests),
            writer: Some(writer),
            deadline: options.deadline,
        })
    }

    /// Hands in work and waits for its durable outcome.
    pub(super) async fn submit<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, StoreError> {
        let deadline = Deadline::now() + self.deadline;
        let place = timeout_at(deadline, self.places.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { work: work(reply), _place: place };
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request).map_err(|_| StoreError::Closed)?;
        timeout_at(deadline, answer)
            .await
            .map_err(|_| StoreError::NoAnswer)?
            .map_err(|_| StoreError::Closed)?
    }
}

/// Waits until all that was queued is written and the file is closed.
impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

struct Writer {
    connection: Connection,
    path: Arc<Path>,
    clock: Arc<dyn Clock>,
    history: i64,
    sweep_every: Duration,
    next_sweep: Instant,
    announce: watch::Sender<Progress>,
    ring: Arc<Ring>,
}

/// Gives a caller its answer once the group's commit has succeeded or failed.
type Settle = Box<dyn FnOnce(Result<(), StoreError>)>;

impl Writer {
    fn run(mut self, incoming: &mpsc::Receiver<Request>) {
        loop {
            match incoming.recv_timeout(self.next_sweep.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let group = std::iter::once(first).chain(incoming.try_iter()).take(GROUP);
                    let group = group.map(|request| request.work).filter(|work| !work.is_abandoned());
                    let group: Vec<Work> = group.collect();
                    if !group.is_empty() {
                        self.serve(group);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if self.next_sweep <= Instant::now() {
                self.sweep();
            }
        }
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the store's log could not be folded into its file; it will be at the next start");
        }
    }

    fn serve(&mut self, group: Vec<Work>) {
        let mut draft = Draft::new(*self.announce.borrow(), self.clock.now());
        let mut transaction = match begin(&mut self.connection) {
            Ok(transaction) => transaction,
            Err(error) => {
                let error = rows::failure(&self.path, &error);
                group.into_iter().for_each(|work| work.refuse(error.clone()));
                return;
            }
        };
        let mut settle: Vec<Settle> = Vec::with_capacity(group.len());
        for work in group {
            match &draft.lost {
                Some(error) => work.refuse(error.clone()),
                None => settle.push(carry_out(&mut transaction, &mut draft, &self.path, work)),
            }
        }
        let outcome = match draft.lost.take() {
            Some(error) => {
                drop(transaction);
                Err(error)
            }
            None => finish(transaction, &draft).map_err(|error| rows::failure(&self.path, &error)),
        };
        if outcome.is_ok() {
            self.publish(draft);
        }
        settle.into_iter().for_each(|settle| settle(outcome.clone()));
    }

    /// Removes a batch of what has expired and of old history. Comes back at once if there is
    /// more, with the requests that arrived meanwhile served in between.
    fn sweep(&mut self) {
        let mut draft = Draft::new(*self.announce.borrow(), self.clock.now());
        let swept = (|| {
            let transaction = self.connection.transaction()?;
            let more_entries = apply::sweep_expired(&transaction, &mut draft)?;
            let more_history = apply::drop_history(&transaction, &draft, self.history)?;
            finish(transaction, &draft)?;
            Ok::<_, rusqlite::Error>(more_entries || more_history)
        })();
        let pause = match swept {
            Ok(more) => {
                self.publish(draft);
                if more { Duration::ZERO } else { self.sweep_every }
            }
            Err(error) => {
                tracing::warn!(%error, "expired entries could not be removed from the store; will try again");
                self.sweep_every
            }
        };
        self.next_sweep = Instant::now() + pause;
    }

    fn publish(&self, draft: Draft) {
        if draft.progress == *self.announce.borrow() {
            return;
        }
        let progress = draft.progress;
        self.ring.push(draft.changes, progress.revision);
        self.announce.send_replace(progress);
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn carry_out(transaction: &mut Transaction<'_>, draft: &mut Draft, path: &Path, work: Work) -> Settle {
    match work {
        Work::Commit { txn, reply } => {
            settle(reply, in_savepoint(transaction, draft, path, |c, draft| apply::commit(c, draft, txn)))
        }
        Work::Append { records, reply } => settle(
            reply,
            in_savepoint(transaction, draft, path, |c, draft| apply::append(c, draft, &records)),
        ),
    }
}

fn settle<T: 'static>(reply: Reply<T>, outcome: Result<T, StoreError>) -> Settle {
    // The caller may have gone; then nobody is interested.
    Box::new(move |group| drop(reply.send(group.and(outcome))))
}

/// Runs `work` so that its failure undoes it alone and not the rest of the group.
fn in_savepoint<T>(
    transaction: &mut Transaction<'_>,
    draft: &mut Draft,
    path: &Path,
    work: impl FnOnce(&Connection, &mut Draft) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let mark = draft.mark();
    let attempt = transaction.savepoint().and_then(|savepoint| {
        let value = work(&savepoint, draft)?;
        savepoint.commit()?;
        Ok(value)
    });
    attempt.map_err(|error| {
        let error = rows::failure(path, &error);
        draft.rewind(mark);
        // After some failures (a full disk) SQLite gives up the whole transaction.
        if transaction.is_autocommit() {
            draft.lost = Some(error.clone());
        }
        error
    })
}

fn finish(transaction: Transaction<'_>, draft: &Draft) -> rusqlite::Result<()> {
    apply::advance(&transaction, draft)?;
    transaction.commit()
}
