//! The SQLite engine when things go wrong around it: no space, no answer, and somebody who
//! edits the file.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use store::{
    EventFilter, EventLog, Expect, Key, NewRecord, Range, Seq, SqliteOptions, SqliteStore, Store, StoreError,
    Txn, Verification,
};
use tempfile::TempDir;

fn open(options: SqliteOptions) -> (TempDir, PathBuf, SqliteStore) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.db");
    let store = SqliteStore::open(&path, options).expect("a new store");
    (directory, path, store)
}

fn reopen(path: &PathBuf) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).expect("the store opens again")
}

fn key(n: usize) -> Key {
    Key::new(&format!("/k/{n}")).expect("a valid key")
}

fn record(n: usize) -> NewRecord {
    let body = format!("{{\"n\":{n}}}").into();
    NewRecord { time: Timestamp::UNIX_EPOCH, name: "test".into(), code: "T0001I".into(), body }
}

fn create(n: usize, size: usize) -> Txn {
    Txn::new().expect(key(n), Expect::Absent).put(key(n), vec![7; size]).event(record(n))
}

/// Writes until there is no space, then checks that exactly the acknowledged writes are there.
async fn fill(store: &SqliteStore) -> usize {
    let mut written = 0;
    let error = loop {
        match store.commit(create(written, 40_000)).await {
            Ok(outcome) => outcome.expect("the key is new"),
            Err(error) => break error,
        };
        written += 1;
    };
    assert!(matches!(error, StoreError::Full { .. }) && !error.outcome_unknown(), "{error}");
    assert!(written > 0);
    check(store, written).await;
    written
}

async fn check(store: &SqliteStore, written: usize) {
    let mut range = Range::under(Key::root());
    let mut entries = 0;
    loop {
        let page = store.range(range.clone()).await.expect("reading still works");
        entries += page.entries.len();
        match page.next {
            Some(next) => range = range.after(next),
            None => break,
        }
    }
    assert_eq!(entries, written);
    let Ok(Verification::Intact(head)) = store.verify().await else { panic!("the chain is broken") };
    assert_eq!(head.seq, Seq::new(written as i64));
}

#[tokio::test]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let options = SqliteOptions { max_size: Some(1_000_000), ..SqliteOptions::default() };
    let (_directory, path, store) = open(options);
    let written = fill(&store).await;
    store.commit(create(written, 1)).await.expect("a small write still fits").expect("the key is new");
    drop(store);
    let store = reopen(&path);
    check(&store, written + 1).await;
    store.commit(create(written + 1, 40_000)).await.expect("there is room again").expect("the key is new");
}

/// Many at once: the big ones fail, the small ones in the same commits do not suffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_request_does_not_fail_its_group() {
    let options = SqliteOptions { max_size: Some(600_000), ..SqliteOptions::default() };
    let (_directory, _path, store) = open(options);
    let store = std::sync::Arc::new(store);
    let mut written = 0;
    for round in 0..10 {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let store = store.clone();
                let size = if n % 4 == 0 { 400_000 } else { 10 };
                tokio::spawn(async move { (size, store.commit(create(round * 20 + n, size)).await) })
            })
            .collect();
        for task in tasks {
            let (size, result) = task.await.expect("no task fails");
            assert!(size > 10 || result.is_ok(), "{result:?}");
            written += usize::from(result.is_ok());
        }
    }
    check(&store, written).await;
}

const FULL_DISK: &str = "STORE_TEST_FULL_DISK";

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_it_has() {
    if std::env::var_os(FULL_DISK).is_some() {
        return on_the_full_disk().await;
    }
    let this = std::env::current_exe().expect("a test knows its own file");
    let mount = "mount -t tmpfs -o size=1m,mode=0700 none \"$1\" || exit 77; shift; exec \"$@\"";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", mount, "sh"])
        .args([directory.path(), &this])
        .args(["--exact", "a_full_disk_refuses_and_keeps_what_it_has", "--nocapture"])
        .env(FULL_DISK, directory.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() != Some(77) && !is_forbidden(&output.stderr) => {
            panic!("{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
        }
        _ => eprintln!("skipped: mounting a small file system needs root"),
    }
}

fn is_forbidden(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("unshare:")
}

async fn on_the_full_disk() {
    let path = PathBuf::from(std::env::var_os(FULL_DISK).expect("the parent sets it")).join("store.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).expect("a new store");
    let written = fill(&store).await;
    drop(store);
    check(&reopen(&path), written).await;
}

/// Locks the file from outside, so that the writer hangs.
fn block(path: &PathBuf) -> Connection {
    let blocker = Connection::open(path).expect("the file opens");
    blocker.execute_batch("BEGIN IMMEDIATE").expect("the lock is taken");
    blocker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_hangs_is_not_waited_for() {
    let options =
        SqliteOptions { deadline: Duration::from_millis(300), queue: 2, ..SqliteOptions::default() };
    let (_directory, path, store) = open(options);
    let blocker = block(&path);
    let results = tokio::join!(
        store.commit(create(0, 1)),
        store.commit(create(1, 1)),
        store.commit(create(2, 1)),
        store.append(vec![record(3)]),
    );
    assert_eq!((results.0, results.1), (Err(StoreError::NoAnswer), Err(StoreError::NoAnswer)));
    assert_eq!((results.2, results.3), (Err(StoreError::Busy), Err(StoreError::Busy)));
    assert_eq!(store.read(&key(0)).await, Ok(None), "reading goes on");
    drop(blocker);
    drop(store);
    // Nobody waited any more when the lock was given up, so nothing was begun.
    check(&reopen(&path), 0).await;
}

async fn ten_records() -> (TempDir, PathBuf) {
    let (directory, path, store) = open(SqliteOptions::default());
    store.append((1..=10).map(record).collect()).await.expect("the store works");
    (directory, path)
}

#[tokio::test]
async fn tampering_shows() {
    let table = [
        ("UPDATE records SET body = CAST('{}' AS BLOB) WHERE seq = 4", 4),
        ("UPDATE records SET time = time + 1 WHERE seq = 1", 1),
        ("UPDATE records SET name = 'other' WHERE seq = 10", 10),
        ("UPDATE records SET code = 'T0001E' WHERE seq = 5", 5),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 6", 6),
        ("DELETE FROM records WHERE seq = 3", 3),
        ("DELETE FROM records WHERE seq = 1", 1),
        ("DELETE FROM records WHERE seq >= 9", 9),
        ("DELETE FROM records", 1),
        ("INSERT INTO records SELECT 11, time, name, code, body, hash FROM records WHERE seq = 10", 11),
        (SWAP, 2),
    ];
    for (sql, first) in table {
        let (_directory, path) = ten_records().await;
        let intruder = Connection::open(&path).expect("the file opens");
        intruder.execute_batch(sql).expect("the statement runs");
        drop(intruder);
        assert_eq!(reopen(&path).verify().await, Ok(Verification::Broken(Seq::new(first))), "{sql}");
    }
}

/// Two records change places.
const SWAP: &str = "UPDATE records SET seq = seq + 100 WHERE seq IN (2, 3); \
                    UPDATE records SET seq = 3 WHERE seq = 102; UPDATE records SET seq = 2 WHERE seq = 103";

#[tokio::test]
async fn unreadable_content_is_called_damaged() {
    let (_directory, path, store) = open(SqliteOptions::default());
    store.commit(create(1, 1)).await.expect("the store works").expect("the key is new");
    drop(store);
    let intruder = Connection::open(&path).expect("the file opens");
    let sql = "UPDATE entries SET key = '/no//key'; UPDATE records SET hash = x'00'";
    intruder.execute_batch(sql).expect("the statement runs");
    drop(intruder);
    let store = reopen(&path);
    let listed = store.range(Range::under(Key::root())).await.map(drop);
    let queried = store.query(EventFilter::default()).await.map(drop);
    for result in [listed, queried] {
        assert!(matches!(result, Err(StoreError::Damaged { .. })), "{result:?}");
    }
}
