//! SQLite against a model that fits on a page: whatever is done in whatever order, both answer
//! alike, and replaying the changes gives the present state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use store::{
    Clock, Entry, Event, Expect, Key, ManualClock, Range, Revision, SqliteOptions, SqliteStore, Store, Txn,
};

const KEYS: u8 = 4;

#[derive(Clone, Debug)]
enum Op {
    /// Conditions and writes, each on a key of its own.
    Commit(BTreeMap<u8, Condition>, BTreeMap<u8, Change>),
    Wait(i64),
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Absent,
    Present,
    /// The revision this many transactions ago.
    Revision(i64),
    Any,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Put(u8),
    PutFor(u8, i64),
    Delete,
}

fn op() -> impl Strategy<Value = Op> {
    let condition = prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Present),
        (0..3i64).prop_map(Condition::Revision),
        Just(Condition::Any),
    ];
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Put),
        (any::<u8>(), 0..10i64).prop_map(|(value, seconds)| Change::PutFor(value, seconds)),
        Just(Change::Delete),
    ];
    let conditions = prop::collection::btree_map(0..KEYS, condition, 0..3);
    let changes = prop::collection::btree_map(0..KEYS, change, 0..4);
    prop_oneof![
        8 => (conditions, changes).prop_map(|(conditions, changes)| Op::Commit(conditions, changes)),
        2 => (1..8i64).prop_map(Op::Wait),
        1 => Just(Op::Reopen),
    ]
}

/// The contract, without durability, concurrency or speed.
struct Model {
    entries: BTreeMap<Key, Entry>,
    revision: Revision,
}

impl Model {
    fn visible(&self, now: Timestamp) -> BTreeMap<Key, Entry> {
        let visible = self.entries.iter().filter(|(_, entry)| !entry.is_expired(now));
        visible.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// The engine's own sweeps take revisions too, so the model is told which one it was.
    fn commit(&mut self, txn: &Txn, now: Timestamp, revision: Revision) {
        for write in &txn.writes {
            let before = self.visible(now).remove(write.key());
            let entry = match write {
                store::Write::Delete { key } => {
                    self.entries.remove(key);
                    continue;
                }
                store::Write::Put { key, value, expires } => Entry {
                    key: key.clone(),
                    value: value.clone(),
                    revision,
                    created: before.map_or(revision, |entry| entry.created),
                    expires: *expires,
                },
            };
            self.entries.insert(entry.key.clone(), entry);
        }
        self.revision = revision;
    }
}

fn key(n: u8) -> Key {
    Key::new(&format!("/k/{n}")).expect("a valid key")
}

fn txn(
    model: &Model,
    now: Timestamp,
    conditions: BTreeMap<u8, Condition>,
    changes: BTreeMap<u8, Change>,
) -> Txn {
    let mut txn = Txn::new();
    for (n, condition) in conditions {
        txn = txn.expect(
            key(n),
            match condition {
                Condition::Absent => Expect::Absent,
                Condition::Present => Expect::Present,
                Condition::Any => Expect::Any,
                Condition::Revision(ago) => {
                    let entry = model.entries.get(&key(n));
                    let last = entry.map_or(model.revision, |entry| entry.revision);
                    Expect::Revision(Revision::new(last.number() - ago))
                }
            },
        );
    }
    for (n, change) in changes {
        txn = match change {
            Change::Put(value) => txn.put(key(n), vec![value]),
            Change::PutFor(value, seconds) => {
                txn.put_until(key(n), vec![value], now + SignedDuration::from_secs(seconds))
            }
            Change::Delete => txn.delete(key(n)),
        };
    }
    txn
}

async fn run(ops: Vec<Op>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store.db");
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).expect("a valid time")));
    let open = || {
        let sweep_every = Duration::from_millis(1);
        let options = SqliteOptions { clock: clock.clone(), sweep_every, ..SqliteOptions::default() };
        SqliteStore::open(&path, options).expect("the store opens")
    };
    let mut store = open();
    let mut model = Model { entries: BTreeMap::new(), revision: Revision::ZERO };
    for op in ops {
        match op {
            Op::Wait(seconds) => clock.advance(SignedDuration::from_secs(seconds)),
            Op::Reopen => {
                drop(store);
                store = open();
            }
            Op::Commit(conditions, changes) => {
                let now = clock.now();
                let txn = txn(&model, now, conditions, changes);
                let visible = model.visible(now);
                let holds = txn.conditions.iter().all(|(key, expect)| expect.holds(visible.get(key)));
                let outcome = store.commit(txn.clone()).await.expect("the store works");
                assert_eq!(outcome.is_ok(), holds, "{txn:?}: {outcome:?}");
                if let Ok(revision) = outcome {
                    assert!(revision > model.revision);
                    model.commit(&txn, now, revision);
                }
            }
        }
        compare(&store, &model, clock.now()).await;
    }
    replay(&store, &model, clock.now()).await;
}

async fn compare(store: &SqliteStore, model: &Model, now: Timestamp) {
    let expected = model.visible(now);
    let page = store.range(Range::under(Key::root())).await.expect("the store works");
    let listed: Vec<&Entry> = page.entries.iter().collect();
    assert_eq!(listed, expected.values().collect::<Vec<_>>());
    for n in 0..KEYS {
        assert_eq!(store.read(&key(n)).await, Ok(expected.get(&key(n)).cloned()));
    }
}

async fn replay(store: &SqliteStore, model: &Model, now: Timestamp) {
    let mut watch = store.watch(&Key::root(), Some(Revision::ZERO)).await.expect("a watch");
    // Something to end with.
    let end = Key::new("/end").expect("a valid key");
    let last = store.commit(Txn::new().put(end.clone(), "")).await.expect("the store works");
    let last = last.expect("there is no condition");
    let mut entries = BTreeMap::new();
    while watch.revision() < last {
        for event in watch.next().await.expect("the watch works").events {
            match event {
                Event::Put(entry) => entries.insert(entry.key.clone(), entry),
                Event::Delete { key, .. } => entries.remove(&key),
            };
        }
    }
    entries.remove(&end);
    entries.retain(|_, entry| !entry.is_expired(now));
    assert_eq!(entries, model.visible(now));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn engine_and_model_agree(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run(ops));
    }
}
