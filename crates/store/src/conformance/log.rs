//! The event log.

use super::{Fixture, Settings, commit, fresh, key, record, soon, start};
use crate::{ChainHash, Direction, EventFilter, Expect, Head, Record, Seq, SeqRange, Txn, Verification};

/// Numbers start at one without gaps, each record is what was handed in, and the chain holds.
pub async fn records_are_numbered_and_chained(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    assert_eq!(engine.head().await, Ok(Head::EMPTY));
    assert_eq!(engine.verify().await, Ok(Verification::Intact(Head::EMPTY)));
    let one = engine.append(vec![record("a", 1)]).await;
    let two = engine.append(vec![record("b", 2), record("c", 3)]).await;
    assert_eq!(one, Ok(SeqRange { first: Seq::new(1), last: Seq::new(1) }));
    assert_eq!(two, Ok(SeqRange { first: Seq::new(2), last: Seq::new(3) }));
    let records = engine.query(EventFilter::default()).await.expect("the store works");
    let mut hash = ChainHash::START;
    for (n, name) in (1..=3).zip(["a", "b", "c"]) {
        let new = record(name, n);
        hash = hash.next(Seq::new(n), &new);
        let expected =
            Record { seq: Seq::new(n), time: new.time, name: new.name, code: new.code, body: new.body, hash };
        assert_eq!(records.get(n as usize - 1), Some(&expected));
    }
    let head = Head { seq: Seq::new(3), hash };
    assert_eq!(engine.head().await, Ok(head));
    assert_eq!(engine.verify().await, Ok(Verification::Intact(head)));
}

/// Committed with it, or not there at all.
pub async fn events_share_the_fate_of_their_transaction(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let a = key("/t/a");
    let create =
        |name| Txn::new().expect(a.clone(), Expect::Absent).put(a.clone(), name).event(record(name, 1));
    commit(&*engine, create("first")).await;
    assert!(engine.commit(create("second")).await.expect("the store works").is_err());
    commit(&*engine, Txn::new().event(record("alone", 2))).await;
    let records = engine.query(EventFilter::default()).await.expect("the store works");
    let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["first", "alone"]);
    assert!(matches!(engine.verify().await, Ok(Verification::Intact(_))));
}

/// Each filter, both directions, and continuing after a record.
pub async fn queries_filter(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let records = (0..20).map(|n| record(if n % 2 == 0 { "even" } else { "odd" }, n));
    engine.append(records.collect()).await.expect("the store works");
    let all = EventFilter::default;
    let at = |second| Some(start() + jiff::SignedDuration::from_secs(second));
    let descending = Direction::Descending;
    let table: Vec<(EventFilter, Vec<i64>)> = vec![
        (all(), (1..=20).collect()),
        (EventFilter { limit: 3, ..all() }, vec![1, 2, 3]),
        (EventFilter { limit: 3, direction: descending, ..all() }, vec![20, 19, 18]),
        (EventFilter { from: at(17), ..all() }, vec![18, 19, 20]),
        (EventFilter { to: at(2), ..all() }, vec![1, 2]),
        (EventFilter { from: at(5), to: at(7), ..all() }, vec![6, 7]),
        (EventFilter { names: vec!["odd".into()], limit: 3, ..all() }, vec![2, 4, 6]),
        (EventFilter { names: vec!["odd".into(), "even".into()], limit: 2, ..all() }, vec![1, 2]),
        (EventFilter { names: vec!["none".into()], ..all() }, vec![]),
        (EventFilter { after: Some(Seq::new(18)), ..all() }, vec![19, 20]),
        (EventFilter { after: Some(Seq::new(3)), direction: descending, ..all() }, vec![2, 1]),
        (EventFilter { after: Some(Seq::new(20)), ..all() }, vec![]),
    ];
    for (filter, expected) in table {
        let records = engine.query(filter.clone()).await.expect("the store works");
        let numbers: Vec<i64> = records.iter().map(|record| record.seq.number()).collect();
        assert_eq!(numbers, expected, "{filter:?}");
    }
}

/// What was there, then what comes, each record once.
pub async fn tails_catch_up_and_follow(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    for n in 0..10 {
        engine.append((0..60).map(|m| record("old", n * 60 + m)).collect()).await.expect("the store works");
    }
    let mut tail = engine.tail(Seq::new(5)).await.expect("a tail");
    for n in 6..=600 {
        let record = soon("a record", tail.next()).await.expect("the tail works");
        assert_eq!(record.seq, Seq::new(n));
    }
    let (live, appended) = tokio::join!(soon("a record", tail.next()), engine.append(vec![record("new", 0)]));
    let live = live.expect("the tail works");
    assert_eq!((live.name.as_str(), Ok(live.seq)), ("new", appended.map(|range| range.first)));
}

/// The order of the log is the order of its numbers, whoever writes.
pub async fn concurrent_appends_form_one_chain(open: impl AsyncFn(Settings) -> Fixture) {
    let Fixture { engine, keep: _keep } = fresh(open).await;
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for m in 0..10 {
                    match m % 2 {
                        0 => drop(engine.append(vec![record("a", n), record("b", n)]).await),
                        _ => drop(
                            commit(&*engine, Txn::new().put(key("/t/a"), "1").event(record("c", n))).await,
                        ),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no writer fails");
    }
    let verification = engine.verify().await.expect("the store works");
    let Verification::Intact(head) = verification else { panic!("the chain is {verification:?}") };
    assert_eq!(head.seq, Seq::new(32 * (5 * 2 + 5)));
}
