//! What time does to a connection, and what a peer can do with it.

use std::time::Duration;

use crate::connection::{Connection, Limits};
use crate::error::Error;
use crate::message::IGNORE;
use crate::transport::raw::{Raw, settings};
use crate::transport::{Keepalive, Rekey, Settings};
use crate::wire::Writer as _;

const SECOND: Duration = Duration::from_secs(1);

fn server(settings: Settings) -> Raw {
    let mut raw = Raw::against_server(settings, Limits::default());
    raw.exchange_keys();
    raw.log_in();
    raw
}

fn watched() -> Raw {
    server(Settings { keepalive: Keepalive { interval: 10 * SECOND, count: 3 }, ..settings() })
}

/// Ticks whenever the connection wants it, up to `end`; says how often.
fn run(connection: &mut Connection, from: Duration, end: Duration) -> Result<u32, (Duration, Error)> {
    let (mut now, mut ticks) = (from, 0);
    while now < end {
        connection.tick(now).map_err(|error| (now, error))?;
        ticks += 1;
        assert!(ticks < 10_000, "the deadline comes nearer");
        now = connection.deadline().max(now);
    }
    Ok(ticks)
}

#[test]
fn a_silent_peer_is_asked_as_often_as_was_said_and_given_up() {
    let mut raw = watched();
    let (at, error) = run(raw.connection(), Duration::ZERO, 1000 * SECOND).expect_err("nobody answers");
    assert_eq!((at, error), (40 * SECOND, Error::Silent));
    raw.listen();
    assert_eq!(raw.heard.len(), 3, "questions");
}

/// The machine slept, or the login took its time: the peer is asked before it is given up.
#[test]
fn a_jump_of_time_is_no_silence() {
    let mut raw = watched();
    let (at, _) = run(raw.connection(), 3600 * SECOND, 7200 * SECOND).expect_err("nobody answers");
    assert!(at >= 3630 * SECOND, "given up after {at:?}");
}

/// Anything that the peer says is a sign of life.
#[test]
fn a_peer_that_says_something_is_not_asked() {
    let mut raw = watched();
    for round in 0..100 {
        raw.connection().tick(round * 9 * SECOND).expect("alive");
        raw.say(&[IGNORE, 0, 0, 0, 0]);
        raw.deliver().expect("allowed");
    }
    raw.listen();
    assert!(raw.heard.is_empty());
}

/// Whoever drives a connection ticks when it was asked to, which may be minutes before the peer begins an exchange.
#[test]
fn the_time_of_an_exchange_begins_with_it() {
    let mut raw = server(settings());
    raw.connection().tick(SECOND).expect("nothing to do");
    raw.rekey();
    raw.deliver().expect("allowed");
    assert_eq!(run(raw.connection(), 3000 * SECOND, 3100 * SECOND), Ok(1));
    let (at, error) = run(raw.connection(), 3100 * SECOND, 4300 * SECOND).expect_err("too long");
    assert!(at == 4200 * SECOND && error.to_string().contains("takes too long"), "{at:?} {error}");
}

/// RFC 4253, section 9: fresh keys after so many bytes, without waiting for any time.
#[test]
fn rfc4253_9_used_up_keys_are_due_at_once() {
    for rekey in [Rekey { bytes: 10_000, ..Rekey::default() }, Rekey { packets: 20, ..Rekey::default() }] {
        let mut raw = server(Settings { rekey, ..settings() });
        raw.connection().tick(SECOND).expect("nothing to do");
        assert_eq!(raw.connection().deadline(), SECOND + Rekey::default().interval);
        let mut filler = vec![IGNORE];
        filler.put_string(&[0; 1000]);
        for _ in 0..20 {
            raw.say(&filler);
        }
        raw.deliver().expect("allowed");
        assert!(raw.connection().deadline() <= SECOND, "now");
        raw.connection().tick(SECOND).expect("begins");
        let told = raw.settle();
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(raw.connection().deadline(), Duration::ZERO, "time is taken again");
        raw.connection().tick(SECOND).expect("nothing to do");
        assert_eq!(raw.connection().deadline(), SECOND + Rekey::default().interval);
    }
}

/// A peer that is asked for fresh keys and never answers.
#[test]
fn an_exchange_that_nobody_answers_ends() {
    let mut raw = server(settings());
    raw.connection().tick(Duration::ZERO).expect("nothing to do");
    raw.connection().tick(3600 * SECOND).expect("begins");
    let (at, _) = run(raw.connection(), 3600 * SECOND, 6000 * SECOND).expect_err("too long");
    assert_eq!(at, 4800 * SECOND);
    assert!(raw.told().is_none());
}

/// Who is not looked at cannot be too slow: neither with an answer nor with a key exchange. It is asked all the same, so
/// that the network can say that it is gone.
#[test]
fn a_peer_that_nobody_listens_to_is_not_given_up() {
    let mut raw = watched();
    let mut now = Duration::ZERO;
    while now < 3 * 3600 * SECOND {
        raw.connection().tick(now).expect("nobody listened");
        raw.connection().was_deaf();
        now += SECOND;
    }
    assert!(raw.connection().has_output(), "it was asked");
    let (at, _) = run(raw.connection(), now, now + 7200 * SECOND).expect_err("now somebody does");
    assert!(at >= now + 30 * SECOND, "{at:?}");
}
