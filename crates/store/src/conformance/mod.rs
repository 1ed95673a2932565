//! The suite that every engine must pass. An engine's tests call
//! [`conformance_suite!`](crate::conformance_suite) with a function that opens a fresh store;
//! each rule of the contract becomes one test.

pub mod entries;
pub mod expiry;
pub mod log;
pub mod races;
pub mod watching;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{Clock, Engine, Key, ManualClock, NewRecord, Revision, Store, Txn};

/// How a test wants its store.
#[derive(Clone)]
pub struct Settings {
    /// What expiry is judged by.
    pub clock: Arc<dyn Clock>,
    /// For how many transactions changes must be kept; an engine keeps about as many. It should
    /// sweep often, within a second.
    pub history: u32,
}

/// A fresh, empty store.
pub struct Fixture {
    /// The store.
    pub engine: Arc<dyn Engine>,
    /// Whatever must live as long (a directory, a server).
    pub keep: Box<dyn Any + Send>,
}

/// Makes one `#[tokio::test]` of each rule. The argument is the path of an
/// `async fn(Settings) -> Fixture`.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite!(@ $open;
            entries: revisions_grow_by_one, conditions_are_judged, conflicts_change_nothing,
                deleting_nothing_is_no_change, broken_bounds_are_refused, ranges_count_whole_segments,
                pages_join_up, large_values_make_short_pages;
            expiry: expired_entries_are_invisible, expired_entries_make_room, sweeping_is_seen_by_watchers,
                leases_are_renewed_by_revision;
            races: one_creator_wins, no_increment_is_lost, tokens_are_spent_exactly_once,
                snapshots_never_show_half_a_transaction;
            watching: transactions_arrive_whole_and_in_order, other_prefixes_are_silent, resuming_leaves_no_gap,
                every_watcher_sees_the_same, a_slow_watcher_gets_everything_that_is_kept,
                dropped_history_is_refused, a_watcher_left_behind_is_cut, the_future_is_refused,
                giving_up_a_wait_loses_nothing;
            log: records_are_numbered_and_chained, events_share_the_fate_of_their_transaction,
                queries_filter, tails_catch_up_and_follow, concurrent_appends_form_one_chain);
    };
    (@ $open:path; $($module:ident: $($rule:ident),+);+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the path given may be relative to the caller")]
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::conformance::$module::$rule($open).await;
            })+
        })+
    };
}

/// The moment at which the tests' clocks start.
fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

/// A store with a long history and a clock that stands still.
async fn fresh(open: impl AsyncFn(Settings) -> Fixture) -> Fixture {
    open(Settings { clock: Arc::new(ManualClock::new(start())), history: 1 << 20 }).await
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a valid key")
}

fn record(name: &str, second: i64) -> NewRecord {
    let time = Timestamp::from_second(1_700_000_000 + second).expect("a valid time");
    NewRecord { time, name: name.into(), code: "T0001I".into(), body: format!("{{\"n\":{second}}}").into() }
}

/// Commits a transaction whose conditions hold.
async fn commit(store: &(impl Store + ?Sized), txn: Txn) -> Revision {
    store.commit(txn).await.expect("the store works").expect("the conditions hold")
}

/// Fails the test instead of hanging it.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
