//! Entries that cease to be visible, and leases built on them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Fixture, Settings, commit, key, soon, start};
use crate::{Event, Expect, ManualClock, Range, Txn};

async fn with_clock(open: impl AsyncFn(Settings) -> Fixture) -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(start()));
    (open(Settings { clock: clock.clone(), history: 1 << 20 }).await, clock)
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

/// From the very moment of expiry nobody sees the entry, swept or not.
pub async fn expired_entries_are_invisible(open: impl AsyncFn(Settings) -> Fixture) {
    let (Fixture { engine, keep: _keep }, clock) = with_clock(open).await;
    let (short, long) = (key("/t/short"), key("/t/long"));
    let txn = Txn::new().put_until(short.clone(), "1", after(10)).put_until(long.clone(), "1", after(20));
    commit(&*engine, txn).await;
    clock.advance(SignedDuration::from_secs(9));
    let entry = engine.read(&short).await.expect("the store works").expect("still there");
    assert_eq!(entry.expires, Some(after(10)));
    clock.advance(SignedDuration::from_secs(1));
    assert_eq!(engine.read(&short).await, Ok(None));
    let page = engine.range(Range::under(key("/t"))).await.expect("the store works");
    let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys.as_slice(), std::slice::from_ref(&long));
    let past = Txn::new().put_until(long.clone(), "2", after(1));
    commit(&*engine, past).await;
    assert_eq!(engine.read(&long).await, Ok(None));
}

/// To conditions an expired entry is absent, and what is written over it begins anew.
pub async fn expired_entries_make_room(open: impl AsyncFn(Settings) -> Fixture) {
    let (Fixture { engine, keep: _keep }, clock) = with_clock(open).await;
    let a = key("/t/a");
    let first = commit(&*engine, Txn::new().put_until(a.clone(), "1", after(10))).await;
    clock.advance(SignedDuration::from_secs(10));
    for expect in [Expect::Present, Expect::Revision(first)] {
        let txn = Txn::new().expect(a.clone(), expect).put(a.clone(), "2");
        assert!(engine.commit(txn).await.expect("the store works").is_err(), "{expect:?}");
    }
    let anew = commit(&*engine, Txn::new().expect(a.clone(), Expect::Absent).put(a.clone(), "2")).await;
    let entry = engine.read(&a).await.expect("the store works").expect("it was written");
    assert_eq!((entry.created, entry.expires), (anew, None));
}

/// The sweeper's removals arrive as deletions.
pub async fn sweeping_is_seen_by_watchers(open: impl AsyncFn(Settings) -> Fixture) {
    let (Fixture { engine, keep: _keep }, clock) = with_clock(open).await;
    let mut watch = engine.watch(&key("/t"), None).await.expect("a watch");
    let txn = Txn::new().put_until(key("/t/a"), "1", after(10)).put(key("/t/b"), "1");
    commit(&*engine, txn).await;
    soon("the write", watch.next()).await.expect("the watch works");
    clock.advance(SignedDuration::from_secs(10));
    let change = soon("the deletion", watch.next()).await.expect("the watch works");
    let revision = change.revision;
    assert_eq!(change.events, [Event::Delete { key: key("/t/a"), revision }]);
}

/// Who holds the present revision extends the lease, and nobody else.
pub async fn leases_are_renewed_by_revision(open: impl AsyncFn(Settings) -> Fixture) {
    let (Fixture { engine, keep: _keep }, clock) = with_clock(open).await;
    let lease = key("/t/lease");
    let first = commit(&*engine, Txn::new().put_until(lease.clone(), "holder", after(10))).await;
    clock.advance(SignedDuration::from_secs(8));
    let renewed = engine.renew(&lease, first, after(18)).await.expect("the store works");
    let second = renewed.expect("the holder renews");
    assert!(engine.renew(&lease, first, after(60)).await.expect("the store works").is_err());
    clock.advance(SignedDuration::from_secs(8));
    let entry = engine.read(&lease).await.expect("the store works").expect("it was renewed");
    assert_eq!((&entry.value[..], entry.created, entry.revision), (&b"holder"[..], first, second));
    clock.advance(SignedDuration::from_secs(2));
    let late = engine.renew(&lease, second, after(60)).await.expect("the store works");
    let conflict = late.expect_err("an expired lease is gone");
    assert_eq!(conflict.at(&lease).map(|mismatch| mismatch.found.is_none()), Some(true));
}
