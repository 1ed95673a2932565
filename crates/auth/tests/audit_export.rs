//! The audit log as files: every event one line, once, whatever happened to the files or to the
//! process in between.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::audit::{AuditLog, Event, Export, kind};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use store::{ChainHash, Engine, ManualClock, NewRecord, Seq, SqliteOptions, SqliteStore};
use tempfile::TempDir;

struct Setup {
    directory: TempDir,
    clock: Arc<ManualClock>,
    log: AuditLog,
}

impl Setup {
    fn new() -> Self {
        // 23:59:50, so that days change soon.
        let start = "2025-03-01T23:59:50Z".parse::<Timestamp>().expect("a valid time");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(start));
        let log = log(&directory.path().join("store.db"), &clock);
        Self { directory, clock, log }
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn day(&self, day: &str) -> PathBuf {
        self.files().join(format!("{day}.events.jsonl"))
    }

    async fn emit(&self, count: usize) {
        for _ in 0..count {
            let event = Event::new(kind::CERT_CREATE).with("user", "x\n\u{1b}").with("n", 1);
            self.log.emit(event).await.expect("the store works");
        }
    }

    /// Runs the export until it has everything, then ends it in good order.
    async fn export(&self) {
        let export = Export::start(&self.log, self.files());
        reach(&export, &self.log).await;
        export.stop().await;
    }

    /// The numbers of all lines, by file. Also checks that each file's lines ascend.
    fn numbers(&self) -> BTreeMap<String, Vec<i64>> {
        let mut numbers = BTreeMap::new();
        for entry in fs::read_dir(self.files()).expect("the directory is there") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if let Some(day) = name.strip_suffix(".events.jsonl") {
                numbers.insert(day.to_owned(), lines(&path).iter().map(number).collect());
            }
        }
        numbers
    }

    fn all_numbers(&self) -> Vec<i64> {
        let mut all: Vec<i64> = self.numbers().into_values().flatten().collect();
        all.sort_unstable();
        all
    }
}

fn log(path: &Path, clock: &Arc<ManualClock>) -> AuditLog {
    let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
    let engine: Arc<dyn Engine> = Arc::new(SqliteStore::open(path, options).expect("the store opens"));
    AuditLog::new(engine, clock.clone(), "example")
}

async fn reach(export: &Export, log: &AuditLog) {
    let head = log.head().await.expect("the store works").seq;
    reach_seq(export, head).await;
}

async fn reach_seq(export: &Export, seq: Seq) {
    let mut reached = export.reached();
    let wait = reached.wait_for(|reached| *reached >= seq);
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.expect("the export comes along").expect("the export runs");
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file is readable");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect()
}

fn number(line: &Value) -> i64 {
    line["ei"].as_i64().expect("a number")
}

fn upto(last: i64) -> Vec<i64> {
    (1..=last).collect()
}

#[tokio::test]
async fn each_event_is_one_line_of_its_day() {
    let setup = Setup::new();
    setup.emit(3).await;
    let export = Export::start(&setup.log, setup.files());
    reach(&export, &setup.log).await;
    setup.clock.advance(SignedDuration::from_secs(10));
    setup.emit(2).await;
    reach(&export, &setup.log).await;
    export.stop().await;

    let numbers = setup.numbers();
    let expected = [("2025-03-01".to_owned(), vec![1, 2, 3]), ("2025-03-02".to_owned(), vec![4, 5])];
    assert_eq!(numbers, BTreeMap::from(expected));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&setup.files()), mode(&setup.day("2025-03-01"))), (0o700, 0o600));
}

/// The files alone prove that nothing was changed: this is what a verifier without the store
/// does.
#[tokio::test]
async fn lines_can_be_verified_without_the_store() {
    let setup = Setup::new();
    setup.emit(5).await;
    setup.export().await;
    let text = fs::read_to_string(setup.day("2025-03-01")).expect("the file is readable");
    let mut hash = ChainHash::START;
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("lines are JSON");
        let (body, _) = line.rsplit_once(",\"ei\":").expect("the number follows the body");
        let text = |name: &str| value[name].as_str().expect("a text").to_owned();
        let record = NewRecord {
            time: text("time").parse().expect("a time"),
            name: text("event"),
            code: text("code"),
            body: format!("{body}}}").into(),
        };
        hash = hash.next(Seq::new(number(&value)), &record);
        assert_eq!(hash.to_string(), text("hash"));
    }
    assert_eq!(hash, setup.log.head().await.expect("the store works").hash);
}

/// A kill can leave a file cut at any byte.
#[tokio::test]
async fn a_file_cut_anywhere_is_completed() {
    let setup = Setup::new();
    setup.emit(4).await;
    setup.export().await;
    let path = setup.day("2025-03-01");
    let whole = fs::read(&path).expect("the file is readable");
    // The place written down is newer than the cut, which only a file that was lost in a power
    // cut can cause; a kill never settles what it did not write.
    for length in (0..whole.len()).step_by(7) {
        fs::remove_file(setup.files().join("exported")).expect("it was written down");
        fs::write(&path, &whole[..length]).expect("the file is cut");
        setup.export().await;
        assert_eq!(fs::read(&path).expect("the file is readable"), whole, "cut at {length}");
    }
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats() {
    let mut setup = Setup::new();
    for round in 1..=6 {
        let export = Export::start(&setup.log, setup.files());
        setup.emit(40).await;
        // At some point in the middle, and not in good order.
        reach_seq(&export, Seq::new(round * 40 - 35)).await;
        drop(export);
        setup.clock.advance(SignedDuration::from_hours(7));
        if round == 3 {
            let path = setup.directory.path().join("store.db");
            let clock = setup.clock.clone();
            let placeholder = log(&setup.directory.path().join("other.db"), &clock);
            drop(std::mem::replace(&mut setup.log, placeholder));
            // The export that was dropped lets go of the store when it notices.
            setup.log = reopen(&path, &clock).await;
        }
    }
    setup.export().await;
    assert_eq!(setup.all_numbers(), upto(240));
}

async fn reopen(path: &Path, clock: &Arc<ManualClock>) -> AuditLog {
    let opened = async {
        loop {
            let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
            match SqliteStore::open(path, options) {
                Ok(engine) => return AuditLog::new(Arc::new(engine), clock.clone(), "example"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), opened).await.expect("the store is let go")
}

#[tokio::test]
async fn files_that_were_moved_away_are_not_written_again() {
    let setup = Setup::new();
    setup.emit(3).await;
    setup.export().await;
    fs::remove_file(setup.day("2025-03-01")).expect("it was written");
    setup.emit(2).await;
    let export = Export::start(&setup.log, setup.files());
    reach(&export, &setup.log).await;
    assert_eq!(setup.all_numbers(), [4, 5]);
    // Also while it runs.
    fs::rename(setup.day("2025-03-01"), setup.files().join("archived")).expect("it was written");
    setup.emit(1).await;
    reach(&export, &setup.log).await;
    export.stop().await;
    assert_eq!(setup.all_numbers(), [6]);
}

#[tokio::test]
async fn files_of_another_store_are_put_aside() {
    let mut setup = Setup::new();
    setup.emit(3).await;
    setup.export().await;
    setup.clock.advance(SignedDuration::from_secs(10));
    // A backup from before was restored, so to say: the same numbers, other events.
    let clock = setup.clock.clone();
    setup.log = log(&setup.directory.path().join("other.db"), &clock);
    setup.emit(2).await;
    fs::write(setup.day("2025-01-01"), "not ours\n").expect("a file is written");
    setup.export().await;
    assert_eq!(setup.numbers(), BTreeMap::from([("2025-03-02".to_owned(), vec![1, 2])]));
    let names = fs::read_dir(setup.files()).expect("the directory is there");
    let names: Vec<String> =
        names.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    for day in ["2025-03-01", "2025-01-01"] {
        let aside = format!("{day}.events.jsonl.foreign-");
        assert!(names.iter().any(|name| name.starts_with(&aside)), "{names:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_tried_again() {
    let setup = Setup::new();
    fs::create_dir(setup.files()).expect("a directory is made");
    // Something is in the way.
    fs::create_dir(setup.day("2025-03-01")).expect("a directory is made");
    setup.emit(3).await;
    let export = Export::start(&setup.log, setup.files());
    setup.emit(3).await;
    assert_eq!(*export.reached().borrow(), Seq::ZERO);
    fs::remove_dir(setup.day("2025-03-01")).expect("it is empty");
    reach(&export, &setup.log).await;
    export.stop().await;
    assert_eq!(setup.all_numbers(), upto(6));
}

#[tokio::test]
async fn a_long_log_is_caught_up() {
    let setup = Setup::new();
    let reports = (0..900).map(|n| auth::audit::Report {
        id: format!("r-{n}"),
        json: "{\"event\":\"exec\",\"code\":\"T3002I\"}".into(),
    });
    let reports: Vec<_> = reports.collect();
    for host in ["node-1", "node-2", "node-3"] {
        setup.log.take_reports(host, reports.clone()).await.expect("they are taken");
    }
    setup.export().await;
    assert_eq!(setup.all_numbers(), upto(2700));
}
