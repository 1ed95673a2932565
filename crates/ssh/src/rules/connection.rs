//! The connection protocol (RFC 4254; OpenSSH's PROTOCOL, sections 1.9 and 2).

use crate::abuse::connection::{data, global_request, numbers, open_session, session};
use crate::algorithms::{KeyAlgorithm, SignatureScheme};
use crate::connection::{
    ChannelEvent, ChannelId, Closed, Event, GlobalAnswer, GlobalRequest, Inbound, Limits, ListenAt, Purpose,
    Request, Stream,
};
use crate::message::{
    CHANNEL_CLOSE, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_EXTENDED_DATA, CHANNEL_FAILURE, CHANNEL_OPEN,
    CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE, CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_WINDOW_ADJUST,
    OpenFailure, PING, PONG, REQUEST_FAILURE, REQUEST_SUCCESS,
};
use crate::role::Role;
use crate::transport::raw::{Raw, Told};
use crate::transport::{HostKey, ToSign};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

fn server() -> Raw {
    Raw::connected(Role::Server, Limits::default())
}

fn client() -> Raw {
    Raw::connected(Role::Client, Limits::default())
}

/// What the end said since it was last asked, as message numbers.
fn said(raw: &mut Raw) -> Vec<u8> {
    raw.heard.drain(..).map(|message| message[0]).collect()
}

fn open(kind: &str, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![CHANNEL_OPEN];
    message.put_string(kind.as_bytes());
    for number in [7, 1 << 20, 1 << 15] {
        message.put_u32(number);
    }
    message.put_slice(rest);
    message
}

fn channel_request(channel: u32, name: &str, wants_answer: bool, rest: &[u8]) -> Vec<u8> {
    let mut message = numbers(CHANNEL_REQUEST, &[channel]);
    message.put_string(name.as_bytes());
    message.put_boolean(wants_answer);
    message.put_slice(rest);
    message
}

/// A session of ours on a server that is tried, by its number and its name there.
fn held(raw: &mut Raw) -> (u32, ChannelId) {
    raw.say(&open_session(1 << 20, 1 << 15));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, _))] = told[..] else { panic!("{told:?}") };
    raw.connection().accept(id);
    raw.settle();
    let confirmed = raw.heard.pop().expect("an answer");
    (Reader::new(&confirmed[5..]).uint32().expect("a number"), id)
}

/// The code of the refusal that the end said last.
fn refusal(raw: &mut Raw) -> u32 {
    raw.settle();
    let failure = raw.heard.pop().expect("an answer");
    let mut reader = Reader::new(&failure);
    assert_eq!((reader.byte(), reader.uint32()), (Ok(CHANNEL_OPEN_FAILURE), Ok(7)));
    reader.uint32().expect("a code")
}

/// RFC 4254, section 5.1: unknown types, and those that the other role opens; section 6.1: clients refuse sessions.
#[test]
fn rfc4254_5_1_channels_of_other_types_are_refused() {
    let mut forwarded = Vec::new();
    forwarded.put_string(b"a");
    forwarded.put_u32(1);
    forwarded.put_string(b"b");
    forwarded.put_u32(2);
    let to_server = [
        "forwarded-tcpip",
        "forwarded-streamlocal@openssh.com",
        "auth-agent@openssh.com",
        "x11",
        "tun@openssh.com",
        "",
        "session\0",
    ];
    let to_client = ["session", "direct-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com"];
    for (mut raw, kinds) in [(server(), &to_server[..]), (client(), &to_client)] {
        for kind in kinds {
            raw.say(&open(kind, &forwarded));
            assert_eq!(refusal(&mut raw), OpenFailure::UnknownType as u32, "{kind}");
        }
        assert_eq!(raw.connection().channel_count(), 0);
    }
}

/// RFC 4254, section 5.1: as many as there may be; and a refusal with its reason.
#[test]
fn rfc4254_5_1_channels_are_bounded() {
    let mut raw = Raw::connected(Role::Server, Limits { channels: 3, ..Limits::default() });
    for _ in 0..3 {
        session(&mut raw);
    }
    raw.say(&open_session(1, 1 << 15));
    assert_eq!(refusal(&mut raw), OpenFailure::ResourceShortage as u32);
    assert_eq!(raw.connection().open(&Purpose::Agent), None, "the limit is for both sides");

    let mut raw = server();
    raw.say(&open("direct-streamlocal@openssh.com", b"\0\0\0\x02/x\0\0\0\0\0\0\0\0"));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, ChannelEvent::Offered(purpose)))] = &told[..] else {
        panic!("{told:?}");
    };
    // PROTOCOL, section 2.4.
    assert_eq!(*purpose, Purpose::DirectStreamlocal { path: b"/x".to_vec() });
    raw.connection().reject(*id, OpenFailure::Prohibited, "no");
    assert_eq!(refusal(&mut raw), OpenFailure::Prohibited as u32);
}

/// RFC 4254, section 5.1: nothing is said of a channel that was not confirmed, and of none that there is not.
#[test]
fn rfc4254_5_1_messages_are_about_open_channels() {
    for number in
        [CHANNEL_WINDOW_ADJUST, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_CLOSE, CHANNEL_SUCCESS, CHANNEL_FAILURE]
    {
        let about = |channel| match number {
            CHANNEL_WINDOW_ADJUST => numbers(number, &[channel, 1]),
            CHANNEL_DATA => data(channel, b"x"),
            _ => numbers(number, &[channel]),
        };
        for channel in [0, 1, u32::MAX] {
            let text = server().refused(&about(channel));
            assert!(text.contains("not open"), "{number} {text}");
        }
        // Offered, and nobody has decided.
        let mut raw = server();
        raw.say(&open_session(1, 1 << 15));
        raw.settle();
        let text = raw.refused(&about(0));
        assert!(text.contains("not open"), "{number} {text}");
        // Asked for, and not confirmed.
        let mut raw = client();
        raw.connection().open(&Purpose::Session).expect("room");
        let text = raw.refused(&about(0));
        assert!(text.contains("not open"), "{number} {text}");
    }
}

/// RFC 4254, section 5.1: answers are to questions.
#[test]
fn rfc4254_5_1_confirmations_that_nobody_asked_for_are_refused() {
    let confirmed = numbers(CHANNEL_OPEN_CONFIRMATION, &[0, 0, 1, 1 << 15]);
    let mut failed = numbers(CHANNEL_OPEN_FAILURE, &[0, 1]);
    failed.put_string(b"");
    failed.put_string(b"");
    for message in [&confirmed, &failed] {
        assert!(client().refused(message).contains("was not asked for"));
        let mut raw = server();
        let channel = session(&mut raw);
        let mut message = message.clone();
        message[1..5].copy_from_slice(&channel.to_be_bytes());
        assert!(raw.refused(&message).contains("was not asked for"), "it is open already");
    }
}

/// RFC 4254, section 5.2: the window is a limit, of both kinds of data together; so is the size of a packet.
#[test]
fn rfc4254_5_2_windows_and_packets_are_limits() {
    let limits = Limits { window: 1000, ..Limits::default() };
    let mut raw = Raw::connected(Role::Server, limits);
    let channel = session(&mut raw);
    let mut extended = numbers(CHANNEL_EXTENDED_DATA, &[channel, 1]);
    extended.put_string(&[0; 400]);
    raw.say(&data(channel, &[0; 600]));
    raw.say(&extended);
    raw.say(&data(channel, b""));
    raw.settle();
    assert_eq!(raw.connection().unread(), 1000);
    let text = raw.refused(&data(channel, b"x"));
    assert!(text.contains("more data than the window"), "{text}");

    let mut raw = server();
    let channel = session(&mut raw);
    raw.say(&data(channel, &[0; 32 << 10]));
    raw.settle();
    let text = raw.refused(&data(channel, &[0; (32 << 10) + 1]));
    assert!(text.contains("larger than was agreed on"), "{text}");
}

/// RFC 4254, section 5.2; CVE-2025-54804 (russh): a window has 32 bits.
#[test]
fn cve_2025_54804_a_window_that_overflows_is_refused() {
    let mut raw = server();
    let channel = session(&mut raw);
    raw.say(&numbers(CHANNEL_WINDOW_ADJUST, &[channel, u32::MAX - (1 << 20)]));
    raw.settle();
    let text = raw.refused(&numbers(CHANNEL_WINDOW_ADJUST, &[channel, 1]));
    assert!(text.contains("larger than a window can be"), "{text}");
}

/// RFC 4254, section 5.2: nothing is sent beyond the peer's window, or in larger packets than it takes. Row S8: a channel
/// that takes packets of no size is not opened.
#[test]
fn rfc4254_5_2_the_peers_limits_are_kept() {
    let mut raw = server();
    raw.say(&open_session(1000, 300));
    let told = raw.settle();
    let [Told::Connection(Event::Channel(id, _))] = told[..] else { panic!("{told:?}") };
    raw.connection().accept(id);
    raw.settle();
    raw.heard.clear();
    assert_eq!(raw.connection().write(id, Stream::Data, &[1; 5000]), Ok(1000));
    assert_eq!(raw.connection().write(id, Stream::Stderr, &[1; 5000]), Ok(0));
    raw.settle();
    let sizes = raw.heard.iter().map(|message| message.len() - 9);
    assert_eq!(sizes.collect::<Vec<_>>(), [300, 300, 300, 100]);
    for max_packet in [0, 1, 63] {
        let text = server().refused(&open_session(1000, max_packet));
        assert!(text.contains("packets of hardly any size"), "{text}");
        let mut raw = client();
        raw.connection().open(&Purpose::Session).expect("room");
        let text = raw.refused(&numbers(CHANNEL_OPEN_CONFIRMATION, &[0, 0, 1000, max_packet]));
        assert!(text.contains("packets of hardly any size"), "{text}");
    }
}

/// RFC 4254, section 5.3: after its end a side says no more; what it says all the same is not kept. A close is answered.
#[test]
fn rfc4254_5_3_ends_and_closes() {
    let mut raw = server();
    let (channel, id) = held(&mut raw);
    raw.say(&data(channel, b"a"));
    for _ in 0..3 {
        raw.say(&numbers(CHANNEL_EOF, &[channel]));
        raw.say(&data(channel, b"late"));
    }
    raw.say(&numbers(CHANNEL_CLOSE, &[channel]));
    raw.settle();
    assert_eq!(said(&mut raw), [CHANNEL_CLOSE]);
    let connection = raw.connection();
    assert_eq!(connection.read(id), Some(Inbound::Data(b"a"[..].into())));
    assert_eq!((connection.read(id), connection.read(id)), (Some(Inbound::Eof), None));
    assert_eq!(connection.write(id, Stream::Data, b"x"), Err(Closed));
    assert_eq!((connection.eof(id), connection.exit_status(id, 0)), (Err(Closed), Err(Closed)));
    connection.release(id);
    assert_eq!(connection.channel_count(), 0);
    assert!(raw.refused(&numbers(CHANNEL_CLOSE, &[channel])).contains("not open"), "twice");
}

/// RFC 4254, section 5.4: an unknown request is refused if that is wanted, and nobody is told of it.
#[test]
fn rfc4254_5_4_unknown_requests_are_answered_no() {
    let mut raw = server();
    let (channel, _) = held(&mut raw);
    raw.say(&channel_request(channel, "exit-status", true, &[0, 0, 0, 1]));
    raw.say(&channel_request(channel, "break", true, &[0, 0, 0, 1]));
    raw.say(&channel_request(channel, "eow@openssh.com", false, &[]));
    assert!(raw.settle().is_empty());
    assert_eq!(said(&mut raw), [CHANNEL_FAILURE, CHANNEL_FAILURE]);
    for cut in
        [channel_request(channel, "pty-req", true, &[0]), channel_request(channel, "shell", true, b"x")]
    {
        let mut raw = server();
        assert_eq!(held(&mut raw).0, channel);
        assert!(raw.refused(&cut).contains("malformed"));
    }
}

/// RFC 4254, section 5.4: answers in the order of the questions, whatever the order in which they become known.
#[test]
fn rfc4254_5_4_answers_keep_their_order() {
    let mut raw = server();
    let (channel, id) = held(&mut raw);
    raw.say(&channel_request(channel, "shell", true, &[]));
    raw.say(&channel_request(channel, "unknown", true, &[]));
    raw.say(&channel_request(channel, "shell", true, &[]));
    let told = raw.settle();
    let [
        Told::Connection(Event::Request(_, Request::Shell, Some(first))),
        Told::Connection(Event::Request(_, Request::Shell, Some(second))),
    ] = told[..]
    else {
        panic!("{told:?}")
    };
    raw.connection().answer(id, second, true);
    raw.settle();
    assert_eq!(said(&mut raw), []);
    raw.connection().answer(id, first, true);
    raw.connection().answer(id, first, false);
    raw.settle();
    assert_eq!(said(&mut raw), [CHANNEL_SUCCESS, CHANNEL_FAILURE, CHANNEL_SUCCESS]);
}

/// RFC 4254, section 4; CVE-2026-39830 (x/crypto): an answer is to a question, and one that is not ends the connection
/// in place of hanging it.
#[test]
fn cve_2026_39830_unsolicited_answers_end_the_connection() {
    for number in [REQUEST_SUCCESS, REQUEST_FAILURE] {
        assert!(client().refused(&[number]).contains("a request that was not made"));
        assert!(server().refused(&[number]).contains("a request that was not made"));
    }
    for number in [CHANNEL_SUCCESS, CHANNEL_FAILURE] {
        let mut raw = server();
        let channel = session(&mut raw);
        assert!(raw.refused(&numbers(number, &[channel])).contains("a request that was not made"));
    }
    assert!(client().refused(&[PONG, 0, 0, 0, 0]).contains("a ping that was not sent"));
}

/// RFC 4254, section 4: unknown requests are refused; a client takes none at all.
#[test]
fn rfc4254_4_unknown_requests_are_answered_no() {
    let mut listen = global_request("tcpip-forward", true);
    listen.put_string(b"");
    listen.put_u32(0);
    for mut raw in [server(), client()] {
        raw.say(&global_request("keepalive@openssh.com", true));
        raw.say(&global_request("nothing@example.com", false));
        raw.say(&global_request("hostkeys-prove-00@openssh.com", true));
        assert!(raw.settle().is_empty());
        assert_eq!(said(&mut raw), [REQUEST_FAILURE, REQUEST_FAILURE]);
    }
    let mut raw = client();
    raw.say(&listen);
    assert!(raw.settle().is_empty());
    assert_eq!(said(&mut raw), [REQUEST_FAILURE]);
}

/// RFC 4254, section 7.1; PROTOCOL, section 2.4: listeners, and the port of one that had none.
#[test]
fn rfc4254_7_1_listeners() {
    let mut raw = server();
    let mut listen = global_request("tcpip-forward", true);
    listen.put_string(b"localhost");
    listen.put_u32(0);
    let mut socket = global_request("streamlocal-forward@openssh.com", true);
    socket.put_string(b"/run/x");
    raw.say(&listen);
    raw.say(&socket);
    let told = raw.settle();
    let [
        Told::Connection(Event::Global(GlobalRequest::Listen(ListenAt::Tcp(host, 0)), first)),
        Told::Connection(Event::Global(GlobalRequest::Listen(ListenAt::Streamlocal(path)), second)),
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((host.as_str(), &path[..]), ("localhost", &b"/run/x"[..]));
    raw.connection().answer_global(*second, GlobalAnswer::Done);
    raw.connection().answer_global(*first, GlobalAnswer::Port(4022));
    raw.settle();
    assert_eq!(raw.heard, [numbers(REQUEST_SUCCESS, &[4022]), vec![REQUEST_SUCCESS]]);
    raw.heard.clear();
    let mut cancel = global_request("cancel-tcpip-forward", false);
    cancel.put_string(b"localhost");
    cancel.put_u32(4022);
    raw.say(&cancel);
    let told = raw.settle();
    let [Told::Connection(Event::CancelListen(ListenAt::Tcp(host, 4022)))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(host, "localhost");
    let mut unasked = global_request("tcpip-forward", false);
    unasked.put_string(b"localhost");
    unasked.put_u32(0);
    raw.say(&unasked);
    assert!(raw.settle().is_empty() && raw.heard.is_empty(), "who wants no answer gets no listener");

    let mut raw = client();
    raw.connection().listen(&ListenAt::Tcp(String::new(), 0));
    raw.settle();
    let text = raw.refused(&[REQUEST_SUCCESS, 1, 2]);
    assert!(text.contains("malformed"), "a port was wanted: {text}");
}

/// PROTOCOL, section 2.2: no more sessions, and other channels as before.
#[test]
fn protocol_2_2_no_more_sessions() {
    let mut raw = server();
    let (first, id) = held(&mut raw);
    raw.say(&global_request("no-more-sessions@openssh.com", false));
    raw.say(&open_session(1, 1 << 15));
    assert_eq!(refusal(&mut raw), OpenFailure::Prohibited as u32);
    raw.say(&data(first, b"x"));
    raw.say(&open("direct-streamlocal@openssh.com", b"\0\0\0\x02/x\0\0\0\0\0\0\0\0"));
    let told = raw.settle();
    assert!(
        matches!(told[..], [
        Told::Connection(Event::Channel(readable, ChannelEvent::Readable)),
        Told::Connection(Event::Channel(_, ChannelEvent::Offered(_))),
    ] if readable == id),
        "{told:?}"
    );
}

/// PROTOCOL, section 1.9: a ping is answered with its words.
#[test]
fn protocol_1_9_pings_are_answered_with_their_words() {
    for mut raw in [server(), client()] {
        for words in [&b""[..], b"x", &[7; 30_000]] {
            let mut ping = vec![PING];
            ping.put_string(words);
            raw.say(&ping);
            raw.settle();
            ping[0] = PONG;
            assert_eq!(raw.heard.pop(), Some(ping));
        }
        assert!(raw.refused(&[PING, 0, 0, 0, 1]).contains("malformed"));
    }
}

/// PROTOCOL, section 2.5: host keys are announced, and proven by those that were announced alone.
#[test]
fn protocol_2_5_host_keys_are_announced_and_proven() {
    let mut raw = server();
    let algorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: false };
    let announced =
        [HostKey { algorithm, blob: b"one".to_vec() }, HostKey { algorithm, blob: b"two".to_vec() }];
    raw.connection().announce(&announced);
    raw.settle();
    let mut announcement = global_request("hostkeys-00@openssh.com", false);
    announcement.put_string(b"one");
    announcement.put_string(b"two");
    assert_eq!(raw.heard.pop(), Some(announcement));

    let prove = |blobs: &[&[u8]]| {
        let mut prove = global_request("hostkeys-prove-00@openssh.com", true);
        for blob in blobs {
            prove.put_string(blob);
        }
        prove
    };
    raw.say(&prove(&[b"two", b"one"]));
    let told = raw.settle();
    let [Told::Connection(Event::Global(GlobalRequest::ProveHostKeys(to_sign), token))] = &told[..] else {
        panic!("{told:?}");
    };
    for (to_sign, blob) in to_sign.iter().zip([b"two", b"one"]) {
        let mut data = Vec::new();
        data.put_string(b"hostkeys-prove-00@openssh.com");
        data.put_string(raw.connection().session_id());
        data.put_string(blob);
        assert_eq!(*to_sign, ToSign { algorithm, data, exchange: None });
    }
    raw.connection().answer_global(*token, GlobalAnswer::Proofs(vec![b"a".to_vec(), b"b".to_vec()]));
    raw.settle();
    assert_eq!(raw.heard.pop(), Some(vec![REQUEST_SUCCESS, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b']));

    for blobs in [&[&b"three"[..]][..], &[b"one", b"three"], &[], &[&b"one"[..]; 17]] {
        raw.say(&prove(blobs));
        assert!(raw.settle().is_empty(), "nobody signs");
        assert_eq!(said(&mut raw), [REQUEST_FAILURE]);
    }
}
