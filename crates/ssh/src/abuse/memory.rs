//! What a hostile peer can make a connection keep, and make it say.

use std::time::Duration;

use super::connection::{data, global_request, numbers, open_session, session};
use crate::connection::{Event, Limits, Purpose, Stream};
use crate::message::{
    CHANNEL_EXTENDED_DATA, CHANNEL_OPEN_FAILURE, CHANNEL_REQUEST, CHANNEL_WINDOW_ADJUST, IGNORE, PING,
};
use crate::role::Role;
use crate::transport::MAX_ANSWERS;
use crate::transport::raw::{Raw, Told};
use crate::wire::Writer as _;
use bytes::BufMut as _;

/// Memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says it");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
    pages * 4096
}

/// So much more is room for whatever other tests do in the same process.
const MARGIN: usize = 64 << 20;

/// Says a message again and again; the end's output is taken and never listened to. Gives how much it was.
fn flood(raw: &mut Raw, message: &[u8], times: usize) -> usize {
    let before = resident();
    let mut said = 0;
    for _ in 0..times / 100 {
        for _ in 0..100 {
            raw.say(message);
        }
        raw.deliver().expect("allowed");
        said += raw.discard();
        assert_eq!(raw.untaken(), 0);
        assert!(raw.told().is_none());
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < MARGIN, "{grown} bytes more");
    said
}

/// Row S8; CVE-2026-39827 (x/crypto): a channel that is refused leaves nothing behind.
#[test]
fn s8_refused_channels_leave_nothing_behind() {
    let mut raw = Raw::connected(Role::Client, Limits::default());
    flood(&mut raw, &open_session(1, 1 << 15), 200_000);
    assert_eq!(raw.connection().channel_count(), 0);

    let mut raw = Raw::connected(Role::Client, Limits::default());
    let before = resident();
    for round in 0..50_000u32 {
        raw.connection().open(&Purpose::Session).expect("there is always room");
        raw.deliver().expect("nothing came");
        raw.discard();
        let mut refused = numbers(CHANNEL_OPEN_FAILURE, &[round << 12, 1]);
        refused.put_string(b"no");
        refused.put_string(b"");
        raw.say(&refused);
        raw.deliver().expect("an answer");
        assert!(matches!(raw.told(), Some(Told::Connection(Event::Channel(..)))));
    }
    assert_eq!(raw.connection().channel_count(), 0);
    assert!(resident().saturating_sub(before) < MARGIN);
}

/// Row S8: what means nothing costs nothing.
#[test]
fn s8_messages_that_mean_nothing_cost_nothing() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let channel = session(&mut raw);
    let mut ignore = vec![IGNORE];
    ignore.put_string(&[0; 500]);
    let mut unknown = numbers(CHANNEL_REQUEST, &[channel]);
    unknown.put_string(b"x@example.com");
    unknown.put_boolean(false);
    for message in [
        ignore,
        data(channel, b""),
        numbers(CHANNEL_WINDOW_ADJUST, &[channel, 1]),
        global_request("x@example.com", false),
        unknown,
    ] {
        assert_eq!(flood(&mut raw, &message, 50_000), 0, "no answer to message {}", message[0]);
    }
}

/// Row S8: questions that nobody answers, to whoever runs the session and to nobody.
#[test]
fn s8_questions_without_end_are_bounded() {
    let mut listen = global_request("tcpip-forward", true);
    listen.put_string(b"");
    listen.put_u32(0);
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let channel = session(&mut raw);
    let mut shell = numbers(CHANNEL_REQUEST, &[channel]);
    shell.put_string(b"shell");
    shell.put_boolean(true);
    for message in [listen, shell] {
        let mut raw = Raw::connected(Role::Server, Limits::default());
        session(&mut raw);
        let (mut asked, mut sent) = (0, 0);
        let error = loop {
            raw.say(&message);
            sent += 1;
            match raw.deliver() {
                Ok(()) => asked += usize::from(raw.told().is_some()),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("too many requests wait"), "{error}");
        assert_eq!((asked, sent), (64, 1025));
    }
}

/// Row S8: events that nobody looks at: nothing more is taken in.
#[test]
fn s8_events_that_nobody_looks_at_stop_the_input() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let channel = session(&mut raw);
    let mut signal = numbers(CHANNEL_REQUEST, &[channel]);
    signal.put_string(b"exec");
    signal.put_boolean(false);
    signal.put_string(&[b'x'; 30_000]);
    for _ in 0..1000 {
        raw.say(&signal);
    }
    raw.deliver().expect("allowed");
    assert!(raw.untaken() > 900 * 30_000);
    let mut told = 0;
    while raw.told().is_some() {
        told += 1;
    }
    assert_eq!(told, 64);
    raw.settle();
    assert_eq!(raw.untaken(), 0, "and it goes on when somebody does");
}

/// Row D3: a peer that asks and does not listen.
#[test]
fn d3_answers_that_nobody_listens_to_are_bounded() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let mut ping = vec![PING];
    ping.put_string(&[0; 20_000]);
    for message in [ping, global_request("x@example.com", true)] {
        for _ in 0..20_000_000 / (message.len() + 200) {
            raw.say(&message);
        }
        raw.deliver().expect("allowed");
        let output = raw.discard();
        assert!(raw.untaken() > 0, "not all is taken");
        assert!(output < Limits::default().output + MAX_ANSWERS + 40_000, "{output} bytes");
        while raw.untaken() > 0 {
            raw.deliver().expect("allowed");
            raw.discard();
        }
    }
}

/// Rows S8 and D3: every window is full, by single bytes to one stream and the other in turn, and nobody reads.
#[test]
fn d3_full_windows_cost_what_was_said() {
    let limits = Limits { channels: 16, window: 8 << 10, growth: 0, ..Limits::default() };
    let mut raw = Raw::connected(Role::Server, limits);
    let before = resident();
    let channels: Vec<u32> = (0..16).map(|_| session(&mut raw)).collect();
    for channel in &channels {
        let mut extended = numbers(CHANNEL_EXTENDED_DATA, &[*channel, 1]);
        extended.put_string(b"e");
        for _ in 0..limits.window / 2 {
            raw.say(&data(*channel, b"d"));
            raw.say(&extended);
        }
        raw.settle();
    }
    assert_eq!(raw.connection().unread(), limits.unread());
    assert!(resident().saturating_sub(before) < MARGIN);
    let text = raw.refused(&data(channels[0], b"x"));
    assert!(text.contains("more data than the window"), "{text}");
}

/// Row D3: fresh keys again and again, by a peer that has nothing else to do.
#[test]
fn d3_key_exchanges_without_end_cost_no_memory() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let before = resident();
    for _ in 0..300 {
        raw.rekey();
        assert!(raw.settle().is_empty());
    }
    assert!(resident().saturating_sub(before) < MARGIN);
}

/// Row D3; CVE-2025-22869 (x/crypto): while the peer takes its time with a key exchange, nothing is taken from writers,
/// and what it sends before it has heard of it stays within the window.
#[test]
fn d3_cve_2025_22869_a_slow_key_exchange_holds_the_writers() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    raw.say(&open_session(u32::MAX, 1 << 15));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, _))] = told[..] else { panic!("{told:?}") };
    raw.connection().accept(id);
    raw.settle();
    let connection = raw.connection();
    connection.tick(Duration::ZERO).expect("nothing to do");
    connection.tick(Duration::from_secs(3600)).expect("begins");
    for _ in 0..1000 {
        assert_eq!(connection.write(id, Stream::Data, &[0; 100_000]), Ok(0));
    }
    assert!(raw.overhear() < 4096, "the KEXINIT");
    let told = raw.settle();
    assert!(
        told.iter()
            .any(|told| matches!(told, Told::Connection(Event::Channel(writable, _)) if *writable == id))
    );
    assert!(raw.connection().write(id, Stream::Data, &[0; 100_000]).is_ok_and(|written| written > 0));
}

/// CVE-2026-39834 (x/crypto): a write of any size ends, and takes what there is room for.
#[test]
fn cve_2026_39834_a_write_takes_what_there_is_room_for() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    raw.say(&open_session(u32::MAX, u32::MAX));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, _))] = told[..] else { panic!("{told:?}") };
    raw.connection().accept(id);
    raw.settle();
    let written = raw.connection().write(id, Stream::Data, &vec![0; 200 << 20]).expect("open");
    assert!(
        (Limits::default().output..Limits::default().output + (33 << 10)).contains(&written),
        "{written}"
    );
    assert!(raw.discard() < Limits::default().output + (34 << 10));
}
