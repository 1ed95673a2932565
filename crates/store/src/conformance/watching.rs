//! Following changes: order, resumption, and what happens to those who fall behind.

use std::sync::Arc;

use super::{Fixture, Settings, commit, fresh, key, soon, start};
use crate::{Change, Engine, Event, Key, ManualClock, Range, Revision, StoreError, Txn, Watch, WatchError};

async fn next(watch: &mut Watch) -> Change {
    soon("a change", watch.next()).await.expect("the watch works")
}

/// Writes `count` small transactions, many at a time.
async fn burst(engine: &Arc<dyn Engine>, count: usize) {
    let write = |n: usize| {
        let engine = engine.clone();
        tokio::spawn(
            async move { commit(&*engine, Txn::new().put(key(&format!("/b/{}", n % 50)), "v")).await },
        )
    };
    for start in (0..count).step_by(100) {
        let tasks: Vec<_> = (start..count.min(start + 100)).map(write).collect();
        for task in tasks {
            task.await.expect("no write fails");
        }
    }
}

/// A transaction is one change, with everything in its own order.
pub async fn transactions_arrive_whole_and_in_order(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watch = engine.watch(&Key::root(), None).await.expect("a watch");
    let (a, b) = (key("/t/a"), key("/t/b"));
    let first = commit(&*engine, Txn::new().put(b.clone(), "1").put(a.clone(), "1")).await;
    let second = commit(&*engine, Txn::new().put(a.clone(), "2").delete(b.clone())).await;
    let change = next(&mut watch).await;
    let keys: Vec<&Key> = change.events.iter().map(Event::key).collect();
    assert_eq!((change.revision, keys), (first, vec![&b, &a]));
    let change = next(&mut watch).await;
    assert_eq!((change.revision, watch.revision()), (second, second));
    let entry = engine.read(&a).await.expect("the store works").expect("it was written");
    assert_eq!(change.events, [Event::Put(entry), Event::Delete { key: b, revision: second }]);
}

/// A watch hears of its prefix only, of exactly the events below it.
pub async fn other_prefixes_are_silent(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watch = engine.watch(&key("/a"), None).await.expect("a watch");
    commit(&*engine, Txn::new().put(key("/ab"), "1").put(key("/b/a"), "1")).await;
    let mixed = commit(&*engine, Txn::new().put(key("/b"), "1").put(key("/a/x"), "1")).await;
    let change = next(&mut watch).await;
    let keys: Vec<&Key> = change.events.iter().map(Event::key).collect();
    assert_eq!((change.revision, keys), (mixed, vec![&key("/a/x")]));
}

/// Listing and then watching from the list's revision, or from the last change seen, misses
/// nothing and repeats nothing.
pub async fn resuming_leaves_no_gap(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    commit(&*engine, Txn::new().put(key("/b/0"), "1")).await;
    let page = engine.range(Range::under(key("/b"))).await.expect("the store works");
    burst(&engine, 300).await;
    let mut resume = page.revision;
    for _ in 0..300 {
        // A new watch each time: the worst of clients.
        let mut watch = engine.watch(&key("/b"), Some(resume)).await.expect("a watch");
        assert_eq!(watch.revision(), resume);
        let change = next(&mut watch).await;
        assert_eq!(change.revision, resume.next());
        resume = change.revision;
    }
    let now = engine.range(Range::under(key("/b"))).await.expect("the store works").revision;
    assert_eq!(resume, now);
}

/// However they interleave with the writers, all watchers get the same sequence.
pub async fn every_watcher_sees_the_same(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watchers = Vec::new();
    for _ in 0..4 {
        let mut watch = engine.watch(&key("/b"), Some(Revision::ZERO)).await.expect("a watch");
        watchers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 500 {
                seen.push(next(&mut watch).await);
            }
            seen
        }));
    }
    burst(&engine, 500).await;
    let mut sequences = Vec::new();
    for watcher in watchers {
        sequences.push(watcher.await.expect("no watcher fails"));
    }
    assert!(sequences.iter().all(|sequence| *sequence == sequences[0]));
    assert!(sequences[0].windows(2).all(|pair| pair[1].revision == pair[0].revision.next()));
}

/// A burst of any size cuts nobody whose changes are still kept.
pub async fn a_slow_watcher_gets_everything_that_is_kept(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watch = engine.watch(&key("/b"), None).await.expect("a watch");
    let before = watch.revision();
    burst(&engine, 3000).await;
    let mut seen = before;
    for _ in 0..3000 {
        let change = next(&mut watch).await;
        assert_eq!(change.revision, seen.next());
        seen = change.revision;
    }
}

async fn forgetful(open: impl AsyncFn(Settings) -> Fixture) -> Fixture {
    open(Settings { clock: Arc::new(ManualClock::new(start())), history: 8 }).await
}

/// Waits until the store no longer knows what came after `from`.
async fn until_dropped(engine: &Arc<dyn Engine>, from: Revision) -> StoreError {
    let probe = async {
        loop {
            match engine.watch(&Key::root(), Some(from)).await {
                Ok(_) => burst(engine, 10).await,
                Err(error) => return error,
            }
        }
    };
    soon("the history to be dropped", probe).await
}

/// Who resumes from too long ago is told so, and how far back one may go.
pub async fn dropped_history_is_refused(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = forgetful(open).await;
    let first = commit(&*engine, Txn::new().put(key("/b/0"), "1")).await;
    let StoreError::Compacted { requested, oldest, newest } = until_dropped(&engine, first).await else {
        panic!("the reason is that history was dropped")
    };
    assert!(requested == first && oldest > first && newest >= oldest);
    let page = engine.range(Range::under(Key::root())).await.expect("the store works");
    engine.watch(&Key::root(), Some(page.revision)).await.expect("from the present on it works");
}

/// Who does not read in time is cut and told where it stood.
pub async fn a_watcher_left_behind_is_cut(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = forgetful(open).await;
    let mut watch = engine.watch(&Key::root(), None).await.expect("a watch");
    let stood = watch.revision();
    burst(&engine, 3000).await;
    until_dropped(&engine, stood).await;
    let error = soon("the cut", watch.next()).await.expect_err("it is cut");
    assert_eq!(error, WatchError::Lagged(stood));
}

/// A revision the store has not reached (a backup was restored) is no place to resume from.
pub async fn the_future_is_refused(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let now = commit(&*engine, Txn::new().put(key("/b/0"), "1")).await;
    let ahead = engine.watch(&Key::root(), Some(now.next())).await;
    assert!(matches!(ahead.err(), Some(StoreError::Compacted { .. })));
}

/// A dropped wait takes nothing with it.
pub async fn giving_up_a_wait_loses_nothing(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watch = engine.watch(&key("/b"), None).await.expect("a watch");
    let mut seen = watch.revision();
    for _ in 0..100 {
        tokio::select! {
            biased;
            change = watch.next() => {
                let revision = change.expect("the watch works").revision;
                assert_eq!(revision, seen.next());
                seen = revision;
            }
            _ = commit(&*engine, Txn::new().put(key("/b/0"), "1")) => {}
        }
    }
    let now = engine.range(Range::under(key("/b"))).await.expect("the store works").revision;
    while seen < now {
        let revision = next(&mut watch).await.revision;
        assert_eq!(revision, seen.next());
        seen = revision;
    }
}
