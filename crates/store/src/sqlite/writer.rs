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
    Commit(Txn, Job<Result<Revision, Conflict>>),
    Append(Vec<NewRecord>, Job<SeqRange>),
}

/// Who waits for the answer, and the answer as far as it is known before the commit.
pub(super) struct Job<T> {
    reply: oneshot::Sender<Result<T, StoreError>>,
    outcome: Option<Result<T, StoreError>>,
}

impl<T> Job<T> {
    fn new() -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { reply, outcome: None }, answer)
    }

    /// Answers, now that the commit has succeeded or failed. The caller may have gone; then
    /// nobody is interested.
    fn settle(self, committed: Result<(), StoreError>) {
        if let Some(answer) = committed.err().map(Err).or(self.outcome) {
            drop(self.reply.send(answer));
        }
    }
}

impl Work {
    /// Nobody waits any more, so nobody can be misled if it is not done.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Commit(_, job) => job.reply.is_closed(),
            Self::Append(_, job) => job.reply.is_closed(),
        }
    }

    /// Does it, in a savepoint, so that its failure undoes it alone.
    fn carry_out(&mut self, group: &mut Group<'_>) {
        match self {
            Self::Commit(txn, job) => job.outcome = Some(group.with(|c, draft| apply::commit(c, draft, txn))),
            Self::Append(records, job) => {
                job.outcome = Some(group.with(|c, draft| apply::append(c, draft, records)));
            }
        }
    }

    fn settle(self, committed: Result<(), StoreError>) {
        match self {
            Self::Commit(_, job) => job.settle(committed),
            Self::Append(_, job) => job.settle(committed),
        }
    }
}

/// Work and its place in the queue, which it keeps until it is done.
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
    pub(super) async fn submit<T>(&self, work: impl FnOnce(Job<T>) -> Work) -> Result<T, StoreError> {
        let deadline = Deadline::now() + self.deadline;
        let place = timeout_at(deadline, self.places.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let (job, answer) = Job::new();
        let request = Request { work: work(job), _place: place };
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

impl Writer {
    fn run(mut self, incoming: &mpsc::Receiver<Request>) {
        loop {
            match incoming.recv_timeout(self.next_sweep.saturating_duration_since(Instant::now())) {
                Ok(first) => {
                    let group = std::iter::once(first).chain(incoming.try_iter()).take(GROUP);
                    self.serve(group.collect());
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

    fn serve(&mut self, mut group: Vec<Request>) {
        let committed = match self.commit(&mut group) {
            // One large change must not fail the small ones that happened to come with it.
            Err(StoreError::Full { .. }) if group.len() > 1 => {
                return group.into_iter().for_each(|request| self.serve(vec![request]));
            }
            committed => committed.map(|draft| self.publish(draft)),
        };
        group.into_iter().for_each(|request| request.work.settle(committed.clone()));
    }

    fn commit(&mut self, requests: &mut [Request]) -> Result<Draft, StoreError> {
        let path = self.path.clone();
        let failed = |error| rows::failure(&path, &error);
        let draft = Draft::new(*self.announce.borrow(), self.clock.now());
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut group = Group { transaction: transaction.map_err(failed)?, draft, path: &path, lost: None };
        for request in requests {
            if !request.work.is_abandoned() {
                request.work.carry_out(&mut group);
            }
            if let Some(error) = group.lost {
                return Err(error);
            }
        }
        let Group { transaction, draft, .. } = group;
        finish(transaction, &draft).map_err(failed)?;
        Ok(draft)
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

/// Requests on their way into one commit.
struct Group<'a> {
    transaction: Transaction<'a>,
    draft: Draft,
    path: &'a Path,
    /// Why SQLite gave up the whole transaction, as it does after some failures.
    lost: Option<StoreError>,
}

impl Group<'_> {
    /// Runs `work` so that its failure undoes it alone and not what was done before.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Draft) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mark = self.draft.mark();
        let attempt = self.transaction.savepoint().and_then(|savepoint| {
            let value = work(&savepoint, &mut self.draft)?;
            savepoint.commit()?;
            Ok(value)
        });
        attempt.map_err(|error| {
            let error = rows::failure(self.path, &error);
            self.draft.rewind(mark);
            if self.transaction.is_autocommit() {
                self.lost = Some(error.clone());
            }
            error
        })
    }
}

fn finish(transaction: Transaction<'_>, draft: &Draft) -> rusqlite::Result<()> {
    apply::advance(&transaction, draft)?;
    transaction.commit()
}
