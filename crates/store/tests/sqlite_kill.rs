//! Killed in the middle of writing: what was acknowledged is there afterwards, what belongs
//! together is there together, and the chain holds.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use store::{
    EventFilter, EventLog, Expect, Key, NewRecord, Range, SqliteOptions, SqliteStore, Store, Txn,
    Verification,
};

const CHILD: &str = "STORE_TEST_KILL_PATH";
const ROUND: &str = "STORE_TEST_KILL_ROUND";

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.db");
    let mut acknowledged = BTreeSet::new();
    // At other points each time: while the first is written, in the middle, in a checkpoint.
    for (round, after) in [1, 3, 40, 400, 1500].into_iter().enumerate() {
        acknowledged.extend(write_and_kill(&path, round, after));
        check(&path, &acknowledged).await;
    }
    assert!(acknowledged.len() >= 1900);
}

/// Lets a child write, kills it once it has reported `after` commits, and gives what it reported.
fn write_and_kill(path: &Path, round: usize, after: usize) -> Vec<String> {
    let this = std::env::current_exe().expect("a test knows its own file");
    let mut child = Command::new(this)
        .args(["--exact", "child_writes_until_killed", "--ignored", "--nocapture"])
        .env(CHILD, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = child.stdout.take().expect("it was piped");
    let mut acknowledged = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("the child writes text");
        // The test harness has words of its own, also before ours on the same line.
        if let Some((_, name)) = line.split_once("ack ") {
            acknowledged.push(name.to_owned());
        }
        if acknowledged.len() == after {
            child.kill().expect("the child can be killed");
        }
    }
    let status = child.wait().expect("the child ends");
    assert!(!status.success() && acknowledged.len() >= after, "{status}: {} reported", acknowledged.len());
    acknowledged
}

async fn check(path: &Path, acknowledged: &BTreeSet<String>) {
    let store = SqliteStore::open(path, SqliteOptions::default()).expect("the store opens again");
    let entries = all_entries(&store).await;
    let events = all_events(&store).await;
    let lost: Vec<_> = acknowledged.difference(&entries).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
    assert_eq!(entries, events, "each entry has its event and each event its entry");
    assert!(matches!(store.verify().await, Ok(Verification::Intact(_))));
}

/// The names of the pairs; both halves must be there.
async fn all_entries(store: &SqliteStore) -> BTreeSet<String> {
    let mut sides = [BTreeSet::new(), BTreeSet::new()];
    for (side, names) in ["/left", "/right"].into_iter().zip(&mut sides) {
        let mut range = Range::under(Key::new(side).expect("a valid key"));
        loop {
            let page = store.range(range.clone()).await.expect("the store works");
            for entry in page.entries {
                assert_eq!(entry.value, entry.key.name().repeat(40).as_bytes());
                names.insert(entry.key.name().to_owned());
            }
            match page.next {
                Some(next) => range = range.after(next),
                None => break,
            }
        }
    }
    let [left, right] = sides;
    assert_eq!(left, right, "no transaction is there by half");
    left
}

async fn all_events(store: &SqliteStore) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut filter = EventFilter::default();
    loop {
        let records = store.query(filter.clone()).await.expect("the store works");
        let Some(last) = records.last() else { return names };
        filter.after = Some(last.seq);
        names.extend(records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of acknowledged_writes_survive_a_kill, does nothing on its own"]
async fn child_writes_until_killed() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let round = std::env::var(ROUND).expect("the parent sets it");
    let store = SqliteStore::open(path, SqliteOptions::default()).expect("the store opens");
    let store = Arc::new(store);
    let writers: Vec<_> = (0..8)
        .map(|writer| tokio::spawn(write_for_ever(store.clone(), format!("{round}-{writer}"))))
        .collect();
    for writer in writers {
        writer.await.expect("no writer fails");
    }
}

async fn write_for_ever(store: Arc<SqliteStore>, prefix: String) {
    for n in 0.. {
        let name = format!("{prefix}-{n}");
        let side = |side: &str| Key::new(&format!("/{side}/{name}")).expect("a valid key");
        let value = name.repeat(40);
        let event = NewRecord {
            time: Timestamp::now(),
            name: "written".into(),
            code: "T0001I".into(),
            body: name.clone().into(),
        };
        let txn = Txn::new()
            .expect(side("left"), Expect::Absent)
            .put(side("left"), value.clone())
            .put(side("right"), value)
            .event(event);
        store.commit(txn).await.expect("the store works").expect("the name is new");
        // One write, so that a kill leaves no half line.
        std::io::stdout().lock().write_all(format!("ack {name}\n").as_bytes()).expect("the parent listens");
    }
}
