//! Authentication (RFC 4252, 8308, 8332; OpenSSH's PROTOCOL, section 3.1).

use crate::algorithms::KeyAlgorithm;
use crate::connection::Limits;
use crate::error::Error;
use crate::keys::SigningKey;
use crate::message::{
    SERVICE_ACCEPT, SERVICE_REQUEST, USERAUTH_BANNER, USERAUTH_FAILURE, USERAUTH_PK_OK, USERAUTH_REQUEST,
};
use crate::server::{Event, Proof, Tried, TriedMethod};
use crate::transport::raw::{CERTIFIED, End, Raw, Told, certificate, settings};
use crate::wire::{Reader, Writer as _};
use crate::{client, server};
use bytes::BufMut as _;

/// A server that granted the service.
pub(crate) fn asked() -> Raw {
    let mut raw = Raw::against_server(settings(), Limits::default());
    raw.exchange_keys();
    let mut service = vec![SERVICE_REQUEST];
    service.put_string(b"ssh-userauth");
    raw.say(&service);
    raw.settle();
    assert_eq!(raw.heard.pop().map(|message| message[0]), Some(SERVICE_ACCEPT));
    raw
}

/// A client that made its request.
pub(crate) fn asking() -> Raw {
    let mut raw = Raw::against_client(settings(), Limits::default());
    raw.exchange_keys();
    raw.heard.clear();
    raw
}

/// A request; `rest` is what follows the method.
pub(crate) fn request(login: &[u8], method: &str, rest: &[u8]) -> Vec<u8> {
    let mut request = vec![USERAUTH_REQUEST];
    for part in [login, b"ssh-connection", method.as_bytes()] {
        request.put_string(part);
    }
    request.put_slice(rest);
    request
}

/// A question, whether this would do.
pub(crate) fn question(algorithm: &str, blob: &[u8]) -> Vec<u8> {
    let mut rest = vec![0];
    rest.put_string(algorithm.as_bytes());
    rest.put_string(blob);
    request(b"alice", "publickey", &rest)
}

pub(crate) fn tried(raw: &mut Raw, message: &[u8]) -> TriedMethod {
    raw.say(message);
    let told = raw.settle();
    let [Told::Server(Event::Tried(Tried { login, method }))] = &told[..] else { panic!("{told:?}") };
    assert_eq!(login, "alice");
    *method
}

pub(crate) fn proof(raw: &mut Raw, message: &[u8]) -> Box<Proof> {
    raw.say(message);
    match raw.settle().pop() {
        Some(Told::Server(Event::Proof(proof))) => proof,
        other => panic!("{other:?}"),
    }
}

/// The last message is a failure that names public keys alone, and is no partial success.
pub(crate) fn assert_failure(raw: &mut Raw) {
    let failure = raw.heard.pop().expect("an answer");
    let mut reader = Reader::new(&failure);
    assert_eq!(reader.byte(), Ok(USERAUTH_FAILURE));
    assert_eq!(reader.string(), Ok(&b"publickey"[..]));
    assert_eq!(reader.boolean(), Ok(false));
    assert_eq!(reader.end(), Ok(()));
}

/// RFC 4252, section 7: a signature is of this session.
#[test]
fn rfc4252_7_a_signature_does_for_its_own_session_only() {
    let (mut raw, other) = (asked(), asked());
    let mut message = raw.request("alice");
    let proven = proof(&mut raw, &message).verify().expect("good");
    let End::Server(elsewhere) = other.end else { panic!("a server") };
    let Err(Error::Ended(text)) = elsewhere.admit(&proven) else { panic!("not its own") };
    assert!(text.contains("another connection"), "{text}");

    let mut raw = asked();
    assert!(proof(&mut raw, &message).verify().is_err(), "replayed");
    let mut raw = asked();
    message = raw.request("alice");
    *message.last_mut().expect("a signature") ^= 1;
    assert!(proof(&mut raw, &message).verify().is_err(), "changed");
}

/// RFC 4252, section 7: who knows the session can put together what was signed, and is not fooled by another one.
#[test]
fn rfc4252_7_a_proof_is_rebuilt_from_its_parts() {
    let mut raw = asked();
    let message = raw.request("alice");
    let proof = proof(&mut raw, &message);
    let rebuilt = proof.claim().in_session(proof.session_id(), b"the host key");
    assert_eq!((rebuilt.signed(), rebuilt.signature()), (proof.signed(), proof.signature()));
    rebuilt.verify().expect("good");
    proof.claim().in_session(&[7; 32], b"the host key").verify().expect_err("another session");
}

/// RFC 4252, section 7: a question is answered with what was asked about.
#[test]
fn rfc4252_7_questions_are_answered_with_their_words() {
    let mut raw = asked();
    let blob = certificate(&SigningKey::generate_ed25519());
    raw.say(&question(CERTIFIED.name(), &blob));
    assert!(raw.settle().is_empty(), "nobody is asked");
    let mut expected = vec![USERAUTH_PK_OK];
    expected.put_string(CERTIFIED.name().as_bytes());
    expected.put_string(&blob);
    assert_eq!(raw.heard, [expected]);
}

/// RFC 4252, section 7; RFC 8332, section 3: what is not a certificate of a known kind under its own name.
#[test]
fn rfc8332_3_unusable_keys_are_refused_unread() {
    let user = SigningKey::generate_ed25519();
    let (plain, certified) = (user.public().blob(), certificate(&user));
    let cases = [
        ("ssh-ed25519", &plain[..], TriedMethod::PlainKey),
        ("ssh-ed25519", &certified, TriedMethod::PlainKey),
        (CERTIFIED.name(), &plain, TriedMethod::UnusableKey),
        (CERTIFIED.name(), b"", TriedMethod::UnusableKey),
        (CERTIFIED.name(), &certified[..60], TriedMethod::UnusableKey),
        ("rsa-sha2-512-cert-v01@openssh.com", &certified, TriedMethod::UnusableKey),
        ("ssh-rsa", &plain, TriedMethod::UnusableKey),
        ("ssh-rsa-cert-v01@openssh.com", &certified, TriedMethod::UnusableKey),
        ("ssh-dss", b"", TriedMethod::UnusableKey),
        ("sk-ssh-ed25519-cert-v01@openssh.com", &certified, TriedMethod::UnusableKey),
    ];
    for (algorithm, blob, expected) in cases {
        let mut raw = asked();
        assert_eq!(tried(&mut raw, &question(algorithm, blob)), expected, "{algorithm}");
        assert_failure(&mut raw);
    }
    assert!(KeyAlgorithm::ALL.iter().all(|algorithm| algorithm.name() != "ssh-rsa"));
}

/// RFC 4252, section 5: who wants to be somebody else begins again.
#[test]
fn rfc4252_5_the_user_name_stays() {
    let mut raw = asked();
    assert_eq!(tried(&mut raw, &request(b"alice", "none", b"")), TriedMethod::None);
    let text = raw.refused(&request(b"root", "none", b""));
    assert!(text.contains("the user name changed"), "{text}");

    let mut raw = asked();
    let message = raw.request("alice");
    drop(proof(&mut raw, &message));
    let End::Server(end) = &mut raw.end else { panic!("a server") };
    end.refuse().expect("may try again");
    let text = raw.refused(&raw.request("root"));
    assert!(text.contains("the user name changed"), "{text}");
}

/// RFC 4252, section 5: names and services that cannot be.
#[test]
fn rfc4252_5_impossible_requests_are_refused() {
    let mut service = vec![USERAUTH_REQUEST];
    for part in [&b"alice"[..], b"ssh-userauth", b"none"] {
        service.put_string(part);
    }
    let cases = [
        (request(&[b'x'; 257], "none", b""), "the user name is too long"),
        (request(&[0xff], "none", b""), "malformed"),
        (service, "the only service after authentication"),
        (request(b"alice", "publickey", b""), "malformed"),
        ([question(CERTIFIED.name(), b""), vec![0]].concat(), "malformed"),
    ];
    for (message, words) in cases {
        let text = asked().refused(&message);
        assert!(text.contains(words), "{text}");
    }
}

/// RFC 4252, section 4: attempts without end are not for a stranger, whatever they are.
#[test]
fn rfc4252_4_attempts_are_bounded() {
    let blob = certificate(&SigningKey::generate_ed25519());
    for (message, most) in [(request(b"alice", "none", b""), 20), (question(CERTIFIED.name(), &blob), 64)] {
        let mut raw = asked();
        for _ in 0..most {
            raw.say(&message);
            raw.settle();
        }
        assert_eq!(raw.heard.len(), most);
        raw.say(&message);
        let error = raw.deliver().expect_err("too often");
        assert!(error.to_string().contains("too many attempts"), "{error}");
        raw.listen();
        assert!(matches!(raw.goodbye, Some(Error::Disconnected { code: 14, .. })), "{:?}", raw.goodbye);
    }
}

/// PROTOCOL, section 3.1: a request that names the host key is for a server that showed that one.
#[test]
fn protocol_3_1_requests_are_bound_to_the_host_key() {
    let blob = certificate(&SigningKey::generate_ed25519());
    let bound = |host_key: &[u8]| {
        let mut rest = vec![0];
        for part in [CERTIFIED.name().as_bytes(), &blob, host_key] {
            rest.put_string(part);
        }
        request(b"alice", "publickey-hostbound-v00@openssh.com", &rest)
    };
    let mut raw = asked();
    let host_key = raw.transport.session().expect("keys").host_key.clone();
    raw.say(&bound(&host_key));
    raw.settle();
    assert_eq!(raw.heard.pop().map(|message| message[0]), Some(USERAUTH_PK_OK));
    let text = asked().refused(&bound(b"another"));
    assert!(text.contains("bound to another host key"), "{text}");
}

pub(crate) fn granted() -> Vec<u8> {
    let mut granted = vec![SERVICE_ACCEPT];
    granted.put_string(b"ssh-userauth");
    granted
}

/// RFC 4252, section 5.4; GHSA-48108: words of the server are fit for a terminal, and not endless.
#[test]
fn rfc4252_5_4_banners_are_bounded() {
    let mut banner = vec![USERAUTH_BANNER];
    banner.put_string(&[&b"\x1b]0;owned\x07"[..], &[b'x'; 20_000]].concat());
    banner.put_string(b"");
    let mut raw = asking();
    raw.say(&granted());
    for _ in 0..16 {
        raw.say(&banner);
        let told = raw.settle();
        let [Told::Client(client::Event::Banner(text))] = &told[..] else { panic!("{told:?}") };
        assert!(text.len() <= 1024 && text.starts_with(" ]0;owned x"), "{text}");
    }
    let text = raw.refused(&banner);
    assert!(text.contains("message 53 is not expected"), "{text}");
}

/// RFC 4253, section 10: the service that was asked for, once.
#[test]
fn rfc4253_10_a_client_gets_the_service_that_it_asked_for() {
    let mut other = vec![SERVICE_ACCEPT];
    other.put_string(b"ssh-connection");
    let text = asking().refused(&other);
    assert!(text.contains("another service"), "{text}");
    let mut raw = asking();
    raw.say(&granted());
    raw.settle();
    let text = raw.refused(&granted());
    assert!(text.contains("message 6 is not expected"), "{text}");
}

/// What is refused is refused without a way round: no event of a server carries a proof that was not sent.
#[test]
fn a_server_that_expels_says_why() {
    let mut raw = asked();
    let message = raw.request("alice");
    drop(proof(&mut raw, &message));
    let End::Server(end) = &mut raw.end else { panic!("a server") };
    assert_eq!(server::Handshake::expel(end, "locked"), Error::Ended("locked".to_owned()));
    raw.listen();
    assert_eq!(raw.goodbye, Some(Error::Disconnected { code: 14, text: "locked".to_owned() }));
}
