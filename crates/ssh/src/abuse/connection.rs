//! Attacks on a connection, by a peer that is authenticated.

use std::time::Duration;

use crate::connection::{ChannelEvent, Connection, Event, Limits, Purpose, Stream};
use crate::message::{
    CHANNEL_CLOSE, CHANNEL_DATA, CHANNEL_FAILURE, CHANNEL_OPEN, CHANNEL_OPEN_CONFIRMATION,
    CHANNEL_OPEN_FAILURE, CHANNEL_SUCCESS, CHANNEL_WINDOW_ADJUST, GLOBAL_REQUEST,
};
use crate::role::Role;
use crate::transport::raw::{Raw, Told};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

/// A message with these numbers after its own.
pub(crate) fn numbers(message: u8, numbers: &[u32]) -> Vec<u8> {
    let mut bytes = vec![message];
    for number in numbers {
        bytes.put_u32(*number);
    }
    bytes
}

pub(crate) fn open_session(window: u32, max_packet: u32) -> Vec<u8> {
    let mut message = vec![CHANNEL_OPEN];
    message.put_string(b"session");
    for number in [7, window, max_packet] {
        message.put_u32(number);
    }
    message
}

/// A session channel from us to the end that is tried, accepted; its number there.
pub(crate) fn session(raw: &mut Raw) -> u32 {
    raw.say(&open_session(1 << 20, 1 << 15));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, ChannelEvent::Offered(Purpose::Session)))] = told[..] else {
        panic!("{told:?}");
    };
    raw.connection().accept(id);
    raw.settle();
    let confirmed = raw.heard.pop().expect("an answer");
    let mut reader = Reader::new(&confirmed);
    assert_eq!(reader.byte(), Ok(CHANNEL_OPEN_CONFIRMATION));
    assert_eq!(reader.uint32(), Ok(7));
    reader.uint32().expect("a number")
}

pub(crate) fn data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    let mut message = numbers(CHANNEL_DATA, &[channel]);
    message.put_string(bytes);
    message
}

pub(crate) fn global_request(name: &str, wants_answer: bool) -> Vec<u8> {
    let mut message = vec![GLOBAL_REQUEST];
    message.put_string(name.as_bytes());
    message.put_boolean(wants_answer);
    message
}

/// The number that a message of the end has behind its own.
fn number(message: &[u8]) -> u32 {
    Reader::new(&message[1..]).uint32().expect("a number")
}

/// What is still on its way about a channel that is gone does not meet the one that comes after it.
#[test]
fn a_number_is_not_given_to_the_next_channel() {
    let mut raw = Raw::connected(Role::Client, Limits::default());
    let first = raw.connection().open(&Purpose::Session).expect("room");
    raw.settle();
    let asked = raw.heard.pop().expect("a message");
    let channel = Reader::new(&asked[1 + 4 + 7..]).uint32().expect("its number");
    let mut refused = numbers(CHANNEL_OPEN_FAILURE, &[channel, 1]);
    refused.put_string(b"no");
    refused.put_string(b"");
    raw.say(&refused);
    raw.deliver().expect("an honest answer");
    let connection: &mut Connection = raw.connection();
    let second = connection.open(&Purpose::Session).expect("room");
    assert_ne!(first, second);
    let failed = connection.event();
    assert!(
        matches!(failed, Some(Event::Channel(id, ChannelEvent::Failed { .. })) if id == first),
        "{failed:?}"
    );
    connection.release(first);
    assert!(connection.write(first, Stream::Data, b"x").is_err());
    assert_eq!(connection.channel_count(), 1, "the second is not touched");
}

/// A channel that is closed and released is gone for the peer too.
#[test]
fn rfc4254_5_3_nothing_comes_on_a_channel_that_is_closed() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let channel = session(&mut raw);
    raw.say(&numbers(CHANNEL_CLOSE, &[channel]));
    raw.settle();
    assert_eq!(raw.heard.pop().map(|message| (message[0], number(&message))), Some((CHANNEL_CLOSE, 7)));
    // What a client with threads says beside the answer to a close, as OpenSSH lets it pass.
    raw.say(&numbers(CHANNEL_WINDOW_ADJUST, &[channel, 1]));
    raw.say(&numbers(CHANNEL_SUCCESS, &[channel]));
    raw.say(&numbers(CHANNEL_FAILURE, &[channel]));
    raw.settle();
    let text = raw.refused(&data(channel, b"late"));
    assert!(text.contains("a channel that is not open"), "{text}");
}

/// Row D3: a peer that has been asked for fresh keys, and asks in place of answering. What waits for the end of the
/// exchange is bounded, however short the answers are.
#[test]
fn d3_answers_during_a_slow_key_exchange_are_bounded() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    raw.connection().tick(Duration::ZERO).expect("nothing to do");
    raw.connection().tick(Duration::from_secs(3600)).expect("begins");
    let request = global_request("nothing@example.com", true);
    let error = (0..1_000_000).find_map(|_| {
        raw.say(&request);
        raw.deliver().err()
    });
    let text = error.expect("it ends").to_string();
    assert!(text.contains("too much is asked for while keys are exchanged"), "{text}");
    assert!(raw.transport.output() == 0 && raw.overhear() < 4096, "and nothing of it was answered");
}
