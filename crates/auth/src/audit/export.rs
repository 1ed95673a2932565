//! Writes the log to files beside the store, for shippers and for eyes: each event one line,
//! once, after it is durable.
//!
//! The store is the truth and the files follow it. They are written by one task that reads the
//! log at its own pace, so nobody waits for them and nothing queues up; after a crash it finds
//! out from the files how far it had come.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use store::{Clock, Engine, EventFilter, Record, Seq, StoreError, Tail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::AuditLog;
use super::lines::{LastLine, Lines, Place};

/// The most lines written at once.
const BATCH: usize = 256;
/// After this many lines the place is written down.
const SETTLE_AFTER: usize = 1024;
/// The pause after a failure, doubled each time up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The export under way. Dropping it ends it where it is, which loses nothing either.
pub struct Export {
    stop: CancellationToken,
    reached: watch::Receiver<Seq>,
    task: AbortOnDropHandle<()>,
}

impl Export {
    /// Begins to write the log to files `YYYY-MM-DD.events.jsonl` in `directory`
    /// (`<data_dir>/log`), from where the files end.
    pub fn start(log: &AuditLog, directory: impl Into<PathBuf>) -> Self {
        let stop = CancellationToken::new();
        let (announce, reached) = watch::channel(Seq::ZERO);
        let exporter = Exporter {
            engine: log.engine.clone(),
            clock: log.clock.clone(),
            directory: directory.into(),
            stop: stop.clone(),
            announce,
        };
        Self { stop, reached, task: AbortOnDropHandle::new(tokio::spawn(exporter.run())) }
    }

    /// Up to which event the files go.
    pub fn reached(&self) -> watch::Receiver<Seq> {
        self.reached.clone()
    }

    /// Writes what the store has by now, makes it durable and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the export of the audit log ended by a panic");
        }
    }
}

struct Exporter {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    stop: CancellationToken,
    announce: watch::Sender<Seq>,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("{0}")]
    Files(#[from] std::io::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Exporter {
    /// Starts over after each failure, from what the files say then.
    async fn run(self) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let before = *self.announce.borrow();
            let Err(error) = self.follow().await else { return };
            if matches!(error, ExportError::Store(StoreError::Closed)) {
                return;
            }
            if *self.announce.borrow() > before {
                pause = SHORTEST_PAUSE;
            }
            let directory = self.directory.display();
            tracing::warn!(%error, %directory, "the audit log cannot be written to files; nothing is lost, trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&self) -> Result<(), ExportError> {
        let directory = self.directory.clone();
        let mut files = Files::open(move || Lines::new(directory)).await?;
        let mut place = self.find_place(&files).await?;
        let seq = place.as_ref().map_or(Seq::ZERO, Place::seq);
        self.announce.send_replace(seq);
        let mut tail = self.engine.tail(seq).await?;
        let mut unsettled = 0;
        while let Some(records) = self.batch(&mut tail).await? {
            unsettled += records.len();
            place = self.write(&mut files, records).await?.or(place);
            if unsettled >= SETTLE_AFTER {
                settle(&mut files, &place).await?;
                unsettled = 0;
            }
        }
        self.finish(files, place).await
    }

    /// What there is, or the next record; none when it is time to stop.
    async fn batch(&self, tail: &mut Tail) -> Result<Option<Vec<Record>>, StoreError> {
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(None),
            first = tail.next() => first?,
        };
        let mut records = vec![first];
        while records.len() < BATCH
            && let Some(next) = tail.next().now_or_never()
        {
            records.push(next?);
        }
        Ok(Some(records))
    }

    async fn write(&self, files: &mut Files, mut records: Vec<Record>) -> Result<Option<Place>, ExportError> {
        let mut place = None;
        while !records.is_empty() {
            let (rest, written) = files
                .run(move |lines| {
                    let count = lines.append(&records)?;
                    let written = count.checked_sub(1).map(|last| Place::of(&records[last]));
                    records.drain(..count);
                    Ok((records, written))
                })
                .await?;
            records = rest;
            place = written.or(place);
            if let Some(place) = &place {
                self.announce.send_replace(place.seq());
            }
        }
        Ok(place)
    }

    async fn finish(&self, mut files: Files, mut place: Option<Place>) -> Result<(), ExportError> {
        let end = self.engine.head().await?.seq;
        loop {
            let after = place.as_ref().map_or(Seq::ZERO, Place::seq);
            if after >= end {
                return settle(&mut files, &place).await;
            }
            let filter = EventFilter { after: Some(after), limit: BATCH, ..EventFilter::default() };
            let records = self.engine.query(filter).await?;
            if records.is_empty() {
                return settle(&mut files, &place).await;
            }
            place = self.write(&mut files, records).await?.or(place);
        }
    }

    /// How far the files go: the highest last line that the store knows. Files that end with
    /// something else (the store was restored from a backup, somebody edited them) are put
    /// aside.
    async fn find_place(&self, files: &Files) -> Result<Option<Place>, ExportError> {
        let (settled, mut ends) = files.run(|lines| Ok((lines.settled(), ends(lines)?))).await?;
        ends.sort_by(|(_, one), (_, other)| one.cmp(other));
        let mut reached = None;
        while let Some((day, end)) = ends.pop() {
            if let Some(place) = &end
                && self.knows(place).await?
            {
                reached = end;
                break;
            }
            let now = self.clock.now();
            let aside = files.run(move |lines| lines.set_aside(day, now)).await?;
            let path = aside.display();
            tracing::error!(%path, "an audit log file does not end with an event of the store; it was put aside");
        }
        Ok(match settled {
            Some(place) if Some(&place) > reached.as_ref() && self.knows(&place).await? => Some(place),
            _ => reached,
        })
    }

    async fn knows(&self, place: &Place) -> Result<bool, StoreError> {
        let after = Seq::new(place.seq().number() - 1);
        let filter = EventFilter { after: Some(after), limit: 1, ..EventFilter::default() };
        let records = self.engine.query(filter).await?;
        Ok(records.first().is_some_and(|record| Place::of(record) == *place))
    }
}

/// What each file ends with, unless it is empty; nothing for what is not ours.
fn ends(lines: &Lines) -> std::io::Result<Vec<(jiff::civil::Date, Option<Place>)>> {
    let mut ends = Vec::new();
    for day in lines.days()? {
        match lines.repair(day)? {
            LastLine::None => {}
            LastLine::At(place) => ends.push((day, Some(place))),
            LastLine::Foreign => ends.push((day, None)),
        }
    }
    Ok(ends)
}

async fn settle(files: &mut Files, place: &Option<Place>) -> Result<(), ExportError> {
    let Some(place) = place.clone() else { return Ok(()) };
    Ok(files.run(move |lines| lines.settle(&place)).await?)
}

/// The files, worked on where blocking is allowed.
struct Files(Arc<Mutex<Lines>>);

impl Files {
    async fn open(open: impl FnOnce() -> std::io::Result<Lines> + Send + 'static) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(blocking(open).await?))))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Lines) -> std::io::Result<T> + Send + 'static,
    ) -> std::io::Result<T> {
        let lines = self.0.clone();
        blocking(move || work(&mut lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
