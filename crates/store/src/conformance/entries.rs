//! Reading, writing, conditions and listing.

use bytes::Bytes;

use super::{Fixture, Settings, commit, fresh, key};
use crate::{Conflict, Entry, Expect, Key, MAX_BYTES, Mismatch, Range, Revision, StoreError, Txn};

/// Each commit is one revision; an entry knows its first and its last.
pub async fn revisions_grow_by_one(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let (a, b) = (key("/t/a"), key("/t/b"));
    assert_eq!(engine.read(&a).await, Ok(None));
    let first = commit(&*engine, Txn::new().put(a.clone(), "1").put(b.clone(), "1")).await;
    let second = commit(&*engine, Txn::new().put(a.clone(), "2")).await;
    assert_eq!(second, first.next());
    let entry =
        Entry { key: a.clone(), value: Bytes::from("2"), revision: second, created: first, expires: None };
    assert_eq!(engine.read(&a).await, Ok(Some(entry)));
    let third = commit(&*engine, Txn::new().delete(a.clone())).await;
    assert_eq!((third, engine.read(&a).await), (second.next(), Ok(None)));
    let fourth = commit(&*engine, Txn::new().put(a.clone(), "3")).await;
    let again = engine.read(&a).await.expect("the store works").expect("it was written");
    assert_eq!((again.created, again.revision), (fourth, fourth));
    let other = engine.read(&b).await.expect("the store works").expect("it was written");
    assert_eq!(other.revision, first);
}

/// Every expectation against every state.
pub async fn conditions_are_judged(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let (there, nowhere, scratch) = (key("/t/there"), key("/t/nowhere"), key("/t/scratch"));
    let old = commit(&*engine, Txn::new().put(there.clone(), "1")).await;
    let now = commit(&*engine, Txn::new().put(there.clone(), "2")).await;
    let table = [
        (&there, Expect::Any, true),
        (&there, Expect::Present, true),
        (&there, Expect::Revision(now), true),
        (&there, Expect::Revision(old), false),
        (&there, Expect::Absent, false),
        (&nowhere, Expect::Any, true),
        (&nowhere, Expect::Absent, true),
        (&nowhere, Expect::Present, false),
        (&nowhere, Expect::Revision(now), false),
        (&nowhere, Expect::Revision(Revision::ZERO), false),
    ];
    for (key, expect, holds) in table {
        let txn = Txn::new().expect(key.clone(), expect).put(scratch.clone(), "x");
        let result = engine.commit(txn).await.expect("the store works");
        assert_eq!(result.is_ok(), holds, "{key} {expect:?}");
    }
}

/// A conflict tells every condition that failed, with what is there, and leaves no trace.
pub async fn conflicts_change_nothing(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let (a, b, c) = (key("/t/a"), key("/t/b"), key("/t/c"));
    let revision = commit(&*engine, Txn::new().put(a.clone(), "1")).await;
    let txn = Txn::new()
        .expect(a.clone(), Expect::Absent)
        .expect(b.clone(), Expect::Present)
        .expect(c.clone(), Expect::Absent)
        .put(b.clone(), "2")
        .put(c.clone(), "2")
        .delete(a.clone());
    let found = engine.read(&a).await.expect("the store works");
    let mismatches = vec![
        Mismatch { key: a.clone(), expected: Expect::Absent, found },
        Mismatch { key: b.clone(), expected: Expect::Present, found: None },
    ];
    assert_eq!(engine.commit(txn).await, Ok(Err(Conflict { mismatches })));
    let page = engine.range(Range::under(key("/t"))).await.expect("the store works");
    assert_eq!((page.entries.len(), page.revision), (1, revision));
}

/// Removing what is not there succeeds and tells watchers nothing.
pub async fn deleting_nothing_is_no_change(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut watch = engine.watch(&Key::root(), None).await.expect("a watch");
    commit(&*engine, Txn::new().delete(key("/t/a"))).await;
    let revision = commit(&*engine, Txn::new().put(key("/t/b"), "1")).await;
    let change = super::soon("a change", watch.next()).await.expect("the watch works");
    assert_eq!((change.revision, change.events.len()), (revision, 1));
}

/// What no engine could hold is refused by all.
pub async fn broken_bounds_are_refused(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let a = key("/t/a");
    for txn in [
        Txn::new().put(a.clone(), "1").delete(a.clone()),
        Txn::new().put(a.clone(), vec![0; MAX_BYTES + 1]),
        Txn::new().put(Key::root(), "1"),
    ] {
        assert!(matches!(engine.commit(txn).await, Err(StoreError::InvalidTxn(_))));
    }
    let largest = Txn::new().put(a.clone(), vec![7; MAX_BYTES]);
    commit(&*engine, largest).await;
    let entry = engine.read(&a).await.expect("the store works").expect("it was written");
    assert_eq!(entry.value.len(), MAX_BYTES);
}

/// A prefix covers itself and what is below it, not what merely begins alike.
pub async fn ranges_count_whole_segments(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let all = ["/a", "/a!", "/a/b", "/a/b/c", "/a/b0", "/a0", "/ab", "/b"];
    let txn = all.iter().fold(Txn::new(), |txn, text| txn.put(key(text), *text));
    commit(&*engine, txn).await;
    let table: [(&str, &[&str]); 6] = [
        ("/", &all),
        ("/a", &["/a", "/a/b", "/a/b/c", "/a/b0"]),
        ("/a/b", &["/a/b", "/a/b/c"]),
        ("/a/b/c", &["/a/b/c"]),
        ("/b", &["/b"]),
        ("/c", &[]),
    ];
    for (prefix, expected) in table {
        let page = engine.range(Range::under(key(prefix))).await.expect("the store works");
        let keys: Vec<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!((keys.as_slice(), page.next), (expected, None), "{prefix}");
    }
}

/// Pages of any size, put together, are the whole list.
pub async fn pages_join_up(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let mut all = vec![key("/l")];
    all.extend((0..100).map(|n| key(&format!("/l/{n:03}"))));
    let txn = all.iter().fold(Txn::new(), |txn, key| txn.put(key.clone(), "v"));
    commit(&*engine, txn.put(key("/k"), "v").put(key("/l0"), "v")).await;
    for limit in [1, 7, 50, 101, 1000] {
        let mut range = Range::under(key("/l")).limit(limit);
        let mut keys = Vec::new();
        loop {
            let page = engine.range(range.clone()).await.expect("the store works");
            assert!(page.entries.len() <= limit);
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            match page.next {
                Some(next) => range = range.after(next),
                None => break,
            }
        }
        assert_eq!(keys, all, "pages of {limit}");
    }
    let beyond = engine.range(Range::under(key("/l")).after(key("/z"))).await.expect("the store works");
    let before = engine.range(Range::under(key("/l")).after(key("/a"))).await.expect("the store works");
    assert_eq!((beyond.entries.len(), before.entries.len()), (0, all.len()));
}

/// No page grows without bound, and none is empty while there is more.
pub async fn large_values_make_short_pages(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    const COUNT: usize = 8;
    for n in 0..COUNT {
        commit(&*engine, Txn::new().put(key(&format!("/l/{n}")), vec![0; MAX_BYTES])).await;
    }
    let mut range = Range::under(key("/l"));
    let (mut pages, mut entries) = (0, 0);
    loop {
        let page = engine.range(range.clone()).await.expect("the store works");
        assert!(!page.entries.is_empty());
        (pages, entries) = (pages + 1, entries + page.entries.len());
        match page.next {
            Some(next) => range = range.after(next),
            None => break,
        }
    }
    assert_eq!(entries, COUNT);
    assert!(pages > 1);
}
