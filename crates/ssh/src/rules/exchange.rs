//! The key exchange and what comes with it (RFC 4253, 5656, 8308, 8731; OpenSSH's PROTOCOL, section 1).

use std::time::Duration;

use crate::abuse::handshake::agreed;
use crate::algorithms::{Cipher, KeyAlgorithm, KeyExchange};
use crate::connection::Limits;
use crate::error::Error;
use crate::message::{
    DEBUG, DISCONNECT, EXT_INFO, IGNORE, KEX_INIT, KEX_REPLY, PING, SERVICE_REQUEST, UNIMPLEMENTED,
};
use crate::negotiation::Offer;
use crate::role::Role;
use crate::transport::Settings;
use crate::transport::exchange::write_extensions;
use crate::transport::raw::{End, Raw, settings};
use crate::wire::{Reader, Writer as _};
use bytes::BufMut as _;

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn with(tried: Role, settings: Settings) -> Raw {
    match tried {
        Role::Server => Raw::against_server(settings, Limits::default()),
        Role::Client => Raw::against_client(settings, Limits::default()),
    }
}

fn against(tried: Role) -> Raw {
    with(tried, settings())
}

fn negotiated_strict(raw: &Raw) -> bool {
    match &raw.end {
        End::Server(end) => end.negotiated(),
        End::Client(end) => end.negotiated(),
        End::Connection(end) => end.negotiated(),
        End::Gone => None,
    }
    .expect("agreed")
    .strict
}

fn message(number: u8, strings: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![number];
    for string in strings {
        message.put_string(string);
    }
    message
}

/// PROTOCOL, section 1.10: the sequence numbers begin again with the new keys, at the first and at every exchange.
#[test]
fn protocol_1_10_sequence_numbers_begin_again() {
    for tried in ROLES {
        let mut raw = against(tried);
        raw.exchange_keys();
        assert!(negotiated_strict(&raw));
        // A server has said EXT_INFO, a client its two requests.
        let said = if tried == Role::Server { 1 } else { 2 };
        assert_eq!(raw.transport.sequence(), said);
        raw.log_in();
        raw.rekey();
        raw.settle();
        assert_eq!(raw.transport.sequence(), 0, "nothing was said under the new keys");
    }
}

/// RFC 4253, section 11: to a peer that does not offer strict key exchange, what has no meaning may come at any time.
#[test]
fn rfc4253_11_2_lax_peers_may_say_what_means_nothing() {
    for tried in ROLES {
        let mut raw = against(tried);
        raw.offer_instead(
            |names| {
                names
                    .replace(",kex-strict-c-v00@openssh.com", "")
                    .replace(",kex-strict-s-v00@openssh.com", "")
            },
            false,
        );
        for number in [IGNORE, DEBUG, UNIMPLEMENTED] {
            raw.say(&[number]);
        }
        raw.deliver().expect("allowed");
        raw.say_half();
        raw.say(&[IGNORE]);
        raw.deliver().expect("allowed");
        raw.obey();
        raw.say(&[IGNORE]);
        raw.deliver().expect("allowed");
        assert!(!negotiated_strict(&raw));
    }
}

/// RFC 4253, section 7.2: the identifier of the session is the hash of the first exchange for ever.
#[test]
fn rfc4253_7_2_the_session_keeps_its_identifier() {
    for tried in ROLES {
        let mut raw = Raw::connected(tried, Limits::default());
        let id = raw.connection().session_id().to_vec();
        assert_eq!(id.len(), 32);
        for _ in 0..3 {
            raw.rekey();
            raw.settle();
            assert_eq!(raw.connection().session_id(), id);
            assert_eq!(raw.transport.session().map(|session| session.id.clone()), Some(id.clone()));
        }
    }
}

/// RFC 4253, section 7: what a peer sent on a wrong guess is thrown away, once.
#[test]
fn rfc4253_7_a_wrong_guess_costs_one_packet() {
    let wrong = |names: &str| format!("curve25519-sha256@libssh.org,{names}");
    let mut raw = against(Role::Server);
    raw.offer_instead(wrong, true);
    raw.say(&message(KEX_INIT, &[b"a guess"]));
    raw.deliver().expect("allowed");
    raw.exchange_keys();
    raw.log_in();

    let mut raw = against(Role::Server);
    raw.offer_instead(wrong, true);
    raw.say(&message(KEX_INIT, &[b"a guess"]));
    raw.say(&message(KEX_INIT, &[b"another"]));
    let packets = raw.take_said();
    let text = raw.refuses(&packets);
    assert!(text.contains("key exchange failed"), "{text}");
}

/// RFC 5656, section 4; RFC 8731, section 3: values of another length, and points of low order.
#[test]
fn rfc8731_3_values_that_are_none_are_refused() {
    for value in [&[0; 32][..], &[1; 31], &[1; 33], &[], &[0xff; 1216]] {
        let text = agreed(Role::Server).refused(&message(KEX_INIT, &[value]));
        assert!(text.contains("key exchange failed"), "{text}");
        let text = agreed(Role::Client).refused(&message(KEX_REPLY, &[b"key", value, b"signature"]));
        assert!(text.contains("key exchange failed"), "{text}");
    }
}

/// RFC 4253, section 8: the host key signs this very exchange, and nobody is asked to trust it before.
#[test]
fn rfc4253_8_the_signature_is_of_this_exchange() {
    let mut other = agreed(Role::Client);
    let replayed = other.half();
    let text = agreed(Role::Client).refused(&replayed);
    assert!(text.contains("did not sign this key exchange"), "{text}");
    let mut raw = agreed(Role::Client);
    let mut half = raw.half();
    *half.last_mut().expect("a signature") ^= 1;
    let text = raw.refused(&half);
    assert!(text.contains("did not sign this key exchange"), "{text}");
}

/// RFC 4253, section 9: fresh keys are for the same host.
#[test]
fn rfc4253_9_the_host_key_does_not_change() {
    let mut raw = Raw::connected(Role::Client, Limits::default());
    raw.change_host_key();
    raw.rekey();
    raw.deliver().expect("allowed");
    let half = raw.half();
    let text = raw.refused(&half);
    assert!(text.contains("the host key changed"), "{text}");
}

/// RFC 4253, section 9 lets methods change. Who looked at the first exchange can rely on it all the same: fresh keys are
/// post-quantum where the first were.
#[test]
fn rfc4253_9_fresh_keys_stay_post_quantum() {
    for tried in ROLES {
        let offer =
            |key_exchange: &[KeyExchange]| Offer { key_exchange: key_exchange.to_vec(), ..settings().offer };
        let mut raw = with(tried, Settings { offer: offer(&KeyExchange::ALL), ..settings() });
        raw.exchange_keys();
        raw.log_in();
        raw.change_offer(offer(&[KeyExchange::Sntrup761X25519, KeyExchange::Curve25519]));
        raw.rekey();
        raw.settle();
        raw.change_offer(offer(&[KeyExchange::Curve25519]));
        raw.rekey();
        let error = raw.deliver().expect_err("refused").to_string();
        assert!(error.contains("fresh keys would not be post-quantum"), "{error}");
    }
}

/// RFC 4253, section 6.4: what was changed on its way ends the connection, whatever it was.
#[test]
fn rfc4253_6_4_what_was_changed_on_its_way_is_refused() {
    for cipher in Cipher::ALL {
        for tried in ROLES {
            let settings = settings();
            let offer = Offer { ciphers: vec![cipher], ..settings.offer.clone() };
            let mut raw = with(tried, Settings { offer, ..settings });
            raw.exchange_keys();
            raw.log_in();
            raw.say(&message(IGNORE, &[b"whatever"]));
            let mut packet = raw.take_said();
            let last = packet.len() - 1;
            packet[last] ^= 1;
            let text = raw.refuses(&packet);
            assert!(text.contains("not authentic"), "{text}");
        }
    }
}

/// RFC 4253, section 11.1: the peer's words are fit for a log.
#[test]
fn rfc4253_11_1_a_goodbye_is_made_fit_for_a_log() {
    let mut goodbye = vec![DISCONNECT];
    goodbye.put_u32(11);
    goodbye.put_string("bye\x1b[2J\r\nroot logged in\u{202e}".as_bytes());
    goodbye.put_string(b"en");
    for tried in ROLES {
        let mut raw = Raw::connected(tried, Limits::default());
        raw.say(&goodbye);
        let Err(Error::Disconnected { code: 11, text }) = raw.deliver() else { panic!("it is over") };
        assert!(!text.contains(['\x1b', '\r', '\n']), "{text:?}");
        raw.overhear();
        raw.say(&[IGNORE]);
        assert!(raw.deliver().is_err(), "it stays over");
    }
}

/// RFC 4253, section 10: one service before authentication.
#[test]
fn rfc4253_10_other_services_are_refused() {
    for service in [&b"ssh-connection"[..], b"", b"ssh-userauth\0"] {
        let mut raw = against(Role::Server);
        raw.exchange_keys();
        let text = raw.refused(&message(SERVICE_REQUEST, &[service]));
        assert!(text.contains("has to be ssh-userauth"), "{text}");
        assert!(matches!(raw.goodbye, Some(Error::Disconnected { code: 7, .. })), "{:?}", raw.goodbye);
    }
}

/// RFC 8308, sections 2.4 and 3.1; RFC 8332, section 3.3: first under the first keys, to those who asked for it; with
/// the names of signatures, RSA by its hash.
#[test]
fn rfc8308_3_1_server_sig_algs() {
    let mut raw = against(Role::Server);
    raw.exchange_keys();
    assert!(raw.transport.extensions().ping);
    let mut said = Vec::new();
    write_extensions(&mut said);
    let mut reader = Reader::new(&said[5..]);
    assert_eq!(reader.string().expect("the first name"), b"server-sig-algs");
    let names = reader.names().expect("a list");
    let names: Vec<&str> = names.iter().collect();
    assert_eq!(names, KeyAlgorithm::ALL.map(KeyAlgorithm::name));
    assert!(names.contains(&"rsa-sha2-256") && names.contains(&"rsa-sha2-512"));
    assert!(!names.iter().any(|name| name.starts_with("ssh-rsa")), "{names:?}");

    let mut raw = against(Role::Server);
    raw.offer_instead(|names| names.replace(",ext-info-c", ""), false);
    raw.exchange_keys();
    assert!(!raw.transport.extensions().ping, "nobody asked");
    assert_eq!(raw.transport.sequence(), 0);
}

/// RFC 8308, section 2.3: as many pairs as it says, and the unknown ones are nothing to us.
#[test]
fn rfc8308_2_3_extensions_are_read_to_their_end() {
    let info = |count: u32, strings: &[&[u8]]| {
        let mut info = vec![EXT_INFO];
        info.put_u32(count);
        info.put_slice(&message(0, strings)[1..]);
        info
    };
    for tried in ROLES {
        let tries = |bad: &[u8]| {
            let mut raw = against(tried);
            raw.exchange_keys();
            raw.refused(bad)
        };
        let mut raw = against(tried);
        raw.exchange_keys();
        raw.say(&info(2, &[b"no-flow-control", b"p", b"x@example.com", b"\0\xff"]));
        raw.deliver().expect("allowed");
        assert!(raw.told().is_none());
        for bad in [info(2, &[b"a", b"b"]), info(1, &[b"a", b"b", b"c"]), info(u32::MAX, &[b"a", b"b"])] {
            let text = tries(&bad);
            assert!(text.contains("malformed") || text.contains("too many extensions"), "{text}");
        }
    }
}

/// RFC 8308, section 2.4: at the two moments that it allows, and not for as long as somebody likes.
#[test]
fn rfc8308_2_4_extensions_are_said_twice_at_most() {
    let nothing = [EXT_INFO, 0, 0, 0, 0];
    let mut raw = against(Role::Server);
    raw.exchange_keys();
    for _ in 0..2 {
        raw.say(&nothing);
        raw.deliver().expect("allowed");
    }
    assert!(raw.refused(&nothing).contains("message 7 is not expected here"));
}

/// RFC 4253, section 7.1: what this end is asked for while it wants fresh keys is answered after them, in order.
#[test]
fn rfc4253_7_1_answers_wait_for_the_end_of_an_exchange() {
    let mut raw = Raw::connected(Role::Server, Limits::default());
    raw.connection().tick(Duration::ZERO).expect("nothing to do");
    raw.connection().tick(Duration::from_secs(3600)).expect("begins");
    raw.say(&message(PING, &[b"1"]));
    raw.say(&message(PING, &[b"2"]));
    raw.deliver().expect("the other side did not hear of it yet");
    raw.listen();
    assert!(raw.heard.is_empty());
    raw.settle();
    let said = raw.heard.iter().map(|pong| Reader::new(&pong[1..]).string().map(<[u8]>::to_vec));
    assert_eq!(said.collect::<Vec<_>>(), [Ok(b"1".to_vec()), Ok(b"2".to_vec())]);
}
