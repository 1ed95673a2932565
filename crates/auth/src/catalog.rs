//! The cluster's state as the services see it: typed reads over the store, and a view in memory that follows it.
//!
//! Decisions are made optimistically: from the view, at no cost, and then committed under the condition that
//! nothing that was read has changed. So they are as right as a read of the store itself, for one round trip.

pub mod layout;
mod reads;
pub mod record;
mod view;
mod writes;

pub use reads::{Reads, RolesOf};
pub use view::{Found, View};
pub use writes::Writes;

use crate::audit::{AuditLog, Event};
use crate::pacing::{Refusals, Spender};
use api::status::{Class, Problem};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use store::{Clock, Conflict, Engine, Entry, Key, Page, Range, Revision, StoreError, Txn, Watch, WatchError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Callers come back after this when the store has too much to do.
const BUSY: Duration = Duration::from_secs(2);

/// The cluster's state.
pub struct Catalog {
    /// The store.
    pub engine: Arc<dyn Engine>,
    /// The audit log in the same store.
    pub audit: AuditLog,
    /// Whether the store takes writes.
    pub writes: Writes,
    /// How many refusals become events.
    pub refusals: Refusals,
    clock: Arc<dyn Clock>,
    view: ArcSwap<View>,
    changed: watch::Sender<Revision>,
}

impl Catalog {
    /// Loads the view from the store.
    pub async fn open(
        engine: Arc<dyn Engine>,
        audit: AuditLog,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let view = load(&*engine).await?;
        let changed = watch::Sender::new(view.revision);
        Ok(Self {
            engine,
            audit,
            writes: Writes::default(),
            refusals: Refusals::new(clock.now()),
            clock,
            view: ArcSwap::from_pointee(view),
            changed,
        })
    }

    /// The time by which everything is judged.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present view.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Tells of each new view.
    pub fn changes(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    /// What is at `key`, now.
    pub async fn read(&self, key: &Key) -> Result<Option<Entry>, Problem> {
        self.engine.read(key).await.map_err(|error| problem(&error))
    }

    /// One page of what is under a prefix, now.
    pub async fn range(&self, range: Range) -> Result<Page, Problem> {
        self.engine.range(range).await.map_err(|error| problem(&error))
    }

    /// Everything under a prefix.
    pub async fn all(&self, prefix: Key) -> Result<Vec<Entry>, Problem> {
        Ok(list(&*self.engine, prefix).await.map_err(|error| problem(&error))?.0)
    }

    /// See [`store::Store::commit`].
    pub async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, Problem> {
        let outcome = self.engine.commit(txn).await;
        match &outcome {
            Ok(Ok(_)) => self.writes.succeeded(),
            // Nothing was written.
            Ok(Err(_)) => {}
            Err(error) => self.writes.failed(error),
        }
        outcome.map_err(|error| problem(&error))
    }

    /// Keeps an event that says no to somebody, unless there were too many of them of late: the next one says how many.
    pub async fn tell_refusal(&self, who: Option<Spender>, event: Event) -> Result<(), StoreError> {
        let Some(untold) = who.map_or(Some(0), |who| self.refusals.tells(&who, self.now())) else {
            return Ok(());
        };
        let event = if untold > 0 { event.with("untold_failures", untold) } else { event };
        let kept = self.audit.emit(event.brief()).await;
        if let Err(error) = &kept {
            self.writes.failed(error);
        }
        kept.map(drop)
    }

    /// Keeps the view current until told to stop.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut pause = Duration::from_millis(50);
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow_once(&mut pause) => ended,
            };
            match ended {
                // Lagging is no fault: the view is loaded anew.
                WatchError::Lagged(_) | WatchError::Store(StoreError::Compacted { .. }) => {}
                error => {
                    tracing::error!(%error, "the store cannot be followed; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
                    }
                }
            }
            if let Ok(view) = load(&*self.engine).await {
                self.publish(view);
            }
        }
    }

    async fn follow_once(&self, pause: &mut Duration) -> WatchError {
        let mut view = View::clone(&self.view.load());
        let mut watch: Watch = match self.engine.watch(&layout::state(), Some(view.revision)).await {
            Ok(watch) => watch,
            Err(error) => return error.into(),
        };
        loop {
            match watch.next().await {
                Ok(change) => {
                    *pause = Duration::from_millis(50);
                    view.apply(&change);
                    self.publish(view.clone());
                }
                Err(error) => return error,
            }
        }
    }

    fn publish(&self, view: View) {
        let revision = view.revision;
        self.view.store(Arc::new(view));
        self.changed.send_replace(revision);
    }
}

async fn load(engine: &dyn Engine) -> Result<View, StoreError> {
    let (entries, revision) = list(engine, layout::state()).await?;
    let mut view = View::at(revision);
    for entry in &entries {
        view.put(entry);
    }
    Ok(view)
}

/// Everything under a prefix, and the revision of the first page: whoever watches from there misses nothing.
async fn list(engine: &dyn Engine, prefix: Key) -> Result<(Vec<Entry>, Revision), StoreError> {
    let mut page = engine.range(Range::under(prefix.clone())).await?;
    let (mut entries, revision) = (page.entries, page.revision);
    while let Some(next) = page.next {
        page = engine.range(Range::under(prefix.clone()).after(next)).await?;
        entries.append(&mut page.entries);
    }
    Ok((entries, revision))
}

/// What a failure of the store is to a caller. The details are for the log; callers need not know paths.
pub fn problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Busy | StoreError::NoAnswer => {
            let busy = Problem::new(Class::Unavailable, "store_busy", "the auth service is busy");
            busy.hint("try again").again_in(BUSY)
        }
        StoreError::Closed => {
            Problem::new(Class::Unavailable, "stopping", "the auth service is stopping").hint("try again")
        }
        StoreError::InvalidTxn(reason) => {
            Problem::new(Class::Invalid, "too_large", format!("the change is too large: {reason}"))
        }
        StoreError::Full { .. } | StoreError::Io { .. } => {
            tracing::error!(%error, "the store failed");
            Problem::new(Class::Unavailable, "store_failed", "the auth service cannot write to its store")
                .hint("an operator finds the reason in its log")
        }
        StoreError::Internal { .. } | StoreError::Damaged { .. } | StoreError::Compacted { .. } => {
            tracing::error!(%error, "the store failed");
            Problem::new(Class::Internal, "store_failed", "the auth service cannot read its store")
                .hint("an operator finds the reason in its log")
        }
    }
}
