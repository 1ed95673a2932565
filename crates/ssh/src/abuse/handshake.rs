//! Attacks before there is a connection.

use crate::algorithms::{Cipher, KeyExchange};
use crate::connection::Limits;
use crate::error::Error;
use crate::message::{DEBUG, IGNORE, KEX_INIT, PING, PONG, UNIMPLEMENTED};
use crate::negotiation::Offer;
use crate::role::Role;
use crate::server::Event;
use crate::transport::raw::{End, Raw, Told, plain, settings};
use crate::transport::{MAX_ANSWERS, Settings};
use crate::wire::Writer as _;

fn against(tried: Role) -> Raw {
    match tried {
        Role::Server => Raw::against_server(settings(), Limits::default()),
        Role::Client => Raw::against_client(settings(), Limits::default()),
    }
}

/// The peer has sent its identification and `KEXINIT`, and the end has taken them.
pub(crate) fn agreed(tried: Role) -> Raw {
    let mut raw = against(tried);
    raw.deliver().expect("a peer may begin");
    raw
}

/// The end has the peer's half, and a host key that has to sign or to be trusted.
pub(crate) fn half_done(tried: Role) -> Raw {
    let mut raw = agreed(tried);
    raw.say_half();
    raw.deliver().expect("a good half");
    raw
}

/// The end's keys are in use and the peer's not yet.
pub(crate) fn before_new_keys(tried: Role) -> Raw {
    let mut raw = half_done(tried);
    raw.obey();
    raw
}

/// CVE-2023-48795 (Terrapin), row S3: nothing comes between in a strict key exchange, from its first packet to the last.
#[test]
fn s3_nothing_is_slipped_into_a_strict_key_exchange() {
    for tried in [Role::Server, Role::Client] {
        for number in [IGNORE, DEBUG, UNIMPLEMENTED] {
            let message = [&[number][..], &[0; 9]].concat();
            // Before the KEXINIT, which is the first that says that it is strict.
            let mut raw = against(tried);
            let begun = raw.take_said();
            let line = begun.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
            raw.deliver_bytes(&begun[..line]).expect("a line");
            raw.deliver_bytes(&plain(&message)).expect("nobody knows yet that it is strict");
            let text = raw.refuses(&begun[line..]);
            assert!(text.contains("before the first KEXINIT"), "{text}");

            let text = agreed(tried).refuses(&plain(&message));
            assert!(text.contains(&format!("message {number} is not expected")), "{text}");

            let text = before_new_keys(tried).refuses(&plain(&message));
            assert!(text.contains(&format!("message {number} is not expected")), "{text}");
        }
    }
}

/// CVE-2023-48795, row S3: who is not strict hears who the host is, and gets no keys for a cipher that would not notice.
#[test]
fn s3_chacha_is_never_keyed_without_a_strict_exchange() {
    let offer =
        Offer { key_exchange: vec![KeyExchange::Curve25519], ciphers: vec![Cipher::ChaCha20Poly1305] };
    let mut raw = Raw::against_server(Settings { offer, ..settings() }, Limits::default());
    raw.offer_instead(|names| names.replace(",kex-strict-c-v00@openssh.com", ""), false);
    raw.deliver().expect("it may be said");
    raw.say_half();
    raw.deliver().expect("a good half");
    assert!(matches!(raw.told(), Some(Told::Server(Event::Sign(_)))));
    let End::Server(server) = &mut raw.end else { panic!("it has not begun") };
    let error = server.signed(b"a signature").expect_err("no keys");
    assert!(error.to_string().contains("not safe without strict key exchange"), "{error}");
}

/// A connection that is over stays over, whatever a driver does with it.
#[test]
fn nothing_is_said_or_taken_after_the_end() {
    let mut raw = agreed(Role::Server);
    raw.refuses(&plain(&[KEX_INIT]));
    raw.overhear();
    let mut raw = Raw::connected(Role::Server, Limits::default());
    let connection = raw.connection();
    connection.disconnect("enough");
    connection.disconnect("enough again");
    connection.listen(&crate::connection::ListenAt::Streamlocal(b"/x".to_vec()));
    assert_eq!(connection.tick(std::time::Duration::ZERO), Err(Error::Ended("enough".to_owned())));
    raw.listen();
    assert_eq!(raw.goodbye, Some(Error::Disconnected { code: 11, text: "enough".to_owned() }));
    assert!(raw.heard.is_empty());
}

/// Row D1: what a stranger makes an end keep is bounded. Whatever it says, nothing more is taken while the answers lie
/// there, and of what arrives it keeps nothing but that.
#[test]
fn d1_answers_that_nobody_listens_to_are_bounded() {
    for tried in [Role::Server, Role::Client] {
        let mut raw = against(tried);
        raw.exchange_keys();
        let mut ping = vec![PING];
        ping.put_string(&[0; 30_000]);
        for _ in 0..100 {
            raw.say(&ping);
        }
        raw.deliver().expect("allowed");
        assert!(raw.untaken() > 80 * 30_000, "the rest is not taken");
        let output = raw.overhear();
        assert!((MAX_ANSWERS..MAX_ANSWERS + 40_000).contains(&output), "{output} bytes");
        raw.settle();
        let pongs = raw.heard.iter().filter(|message| message[0] == PONG).count();
        assert_eq!((raw.untaken(), pongs), (0, 100), "and it goes on when they are");
    }
}
