//! Many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{Fixture, Settings, commit, fresh, key};
use crate::{Engine, Expect, Key, Range, Revision, Txn};

const TASKS: u32 = 32;

/// Of many who create the same key one succeeds, and the others are told who.
pub async fn one_creator_wins(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let a = key("/t/a");
    let tasks = (0..TASKS).map(|n| {
        let (engine, a) = (engine.clone(), a.clone());
        tokio::spawn(async move {
            let txn = Txn::new().expect(a.clone(), Expect::Absent).put(a.clone(), n.to_string());
            match engine.commit(txn).await.expect("the store works") {
                Ok(_) => (true, Bytes::from(n.to_string())),
                Err(conflict) => {
                    let found = conflict.at(&a).and_then(|mismatch| mismatch.found.clone());
                    (false, found.expect("the winner's entry").value)
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no task fails"));
    }
    assert_eq!(results.iter().filter(|(won, _)| *won).count(), 1);
    let winner = &results[0].1;
    assert!(results.iter().all(|(_, value)| value == winner));
}

/// A counter incremented by compare-and-swap ends at the number of successes.
pub async fn no_increment_is_lost(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    const EACH: u32 = 8;
    let counter = key("/t/counter");
    commit(&*engine, Txn::new().put(counter.clone(), "0")).await;
    let tasks: Vec<_> =
        (0..TASKS).map(|_| tokio::spawn(increment(engine.clone(), counter.clone(), EACH))).collect();
    for task in tasks {
        task.await.expect("no task fails");
    }
    assert_eq!(number(&*engine, &counter).await.0, TASKS * EACH);
}

async fn increment(engine: Arc<dyn Engine>, counter: Key, times: u32) {
    let mut left = times;
    while left > 0 {
        let (value, revision) = number(&*engine, &counter).await;
        let expect = Expect::Revision(revision);
        let txn = Txn::new().expect(counter.clone(), expect).put(counter.clone(), (value + 1).to_string());
        if engine.commit(txn).await.expect("the store works").is_ok() {
            left -= 1;
        }
    }
}

async fn number(engine: &dyn Engine, key: &Key) -> (u32, Revision) {
    let entry = engine.read(key).await.expect("the store works").expect("the number is there");
    (parse(&entry.value), entry.revision)
}

fn parse(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// A token with three uses admits three joiners of many, each of whom asks twice with the same
/// attempt and gets the same answer twice.
pub async fn tokens_are_spent_exactly_once(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    const USES: u32 = 3;
    let token = key("/tokens/t");
    commit(&*engine, Txn::new().put(token.clone(), USES.to_string())).await;
    let tasks: Vec<_> = (0..TASKS * 2)
        .map(|n| {
            let (engine, token) = (engine.clone(), token.clone());
            tokio::spawn(async move { (n / 2, claim(&*engine, &token, n / 2).await) })
        })
        .collect();
    let mut admitted = vec![Vec::new(); TASKS as usize];
    for task in tasks {
        let (attempt, joined) = task.await.expect("no task fails");
        admitted[attempt as usize].push(joined);
    }
    assert!(admitted.iter().all(|answers| answers[0] == answers[1]), "a retry gets the same answer");
    assert_eq!(admitted.iter().filter(|answers| answers[0]).count(), USES as usize);
    assert_eq!(number(&*engine, &token).await.0, 0);
}

async fn claim(engine: &dyn Engine, token: &Key, attempt: u32) -> bool {
    let claim = key(&format!("/claims/t/{attempt}"));
    loop {
        if engine.read(&claim).await.expect("the store works").is_some() {
            return true;
        }
        let (uses_left, revision) = number(engine, token).await;
        if uses_left == 0 {
            // Our twin may have taken the last one between the two reads.
            return engine.read(&claim).await.expect("the store works").is_some();
        }
        let txn = Txn::new()
            .expect(token.clone(), Expect::Revision(revision))
            .expect(claim.clone(), Expect::Absent)
            .put(token.clone(), (uses_left - 1).to_string())
            .put(claim.clone(), "instance");
        if engine.commit(txn).await.expect("the store works").is_ok() {
            return true;
        }
    }
}

/// While amounts move between accounts, every listing shows the same total.
pub async fn snapshots_never_show_half_a_transaction(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    const ACCOUNTS: u32 = 8;
    let account = |n: u32| key(&format!("/accounts/{}", n % ACCOUNTS));
    let opening = (0..ACCOUNTS).fold(Txn::new(), |txn, n| txn.put(account(n), "100"));
    commit(&*engine, opening).await;

    let done = Arc::new(AtomicBool::new(false));
    let auditor = tokio::spawn(audit(engine.clone(), done.clone(), ACCOUNTS * 100));
    let movers: Vec<_> = (0..4)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for step in 0..40 {
                    transfer(&*engine, &account(n + step), &account(n + step * 3 + 1)).await;
                }
            })
        })
        .collect();
    for mover in movers {
        mover.await.expect("no mover fails");
    }
    done.store(true, Ordering::Relaxed);
    auditor.await.expect("the total never changes");
}

async fn audit(engine: Arc<dyn Engine>, done: Arc<AtomicBool>, total: u32) {
    loop {
        let last = done.load(Ordering::Relaxed);
        let page = engine.range(Range::under(key("/accounts"))).await.expect("the store works");
        let sum: u32 = page.entries.iter().map(|entry| parse(&entry.value)).sum();
        assert_eq!(sum, total, "at revision {}", page.revision);
        if last {
            return;
        }
    }
}

async fn transfer(engine: &dyn Engine, from: &Key, to: &Key) {
    if from == to {
        return;
    }
    loop {
        let ((have, source), (had, target)) = (number(engine, from).await, number(engine, to).await);
        if have == 0 {
            return;
        }
        let txn = Txn::new()
            .expect(from.clone(), Expect::Revision(source))
            .expect(to.clone(), Expect::Revision(target))
            .put(from.clone(), (have - 1).to_string())
            .put(to.clone(), (had + 1).to_string());
        if engine.commit(txn).await.expect("the store works").is_ok() {
            return;
        }
    }
}
