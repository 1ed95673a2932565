//! Attacks on authentication.

use crate::client;
use crate::keys::SigningKey;
use crate::message::{USERAUTH_FAILURE, USERAUTH_SUCCESS};
use crate::rules::authentication::{asked, asking, assert_failure, granted, proof, question, request, tried};
use crate::server::{Event, TriedMethod};
use crate::transport::raw::{CERTIFIED, End, Told, certificate};
use crate::wire::Writer as _;

/// Row S7; Warpgate GHSA-3cjp, OpenSSH CVE-2026-123158: passwords and the like are not there, whatever is in them. RFC
/// 4252, section 5.2: `none` says what there is.
#[test]
fn s7_methods_other_than_public_keys_are_refused_unread() {
    let mut long = vec![0];
    long.put_string(&[b'x'; 300]);
    let mut empty = vec![0];
    empty.put_string(b"");
    let cases = [
        ("none", &[][..], TriedMethod::None),
        ("password", &long, TriedMethod::Password),
        ("password", &empty, TriedMethod::Password),
        ("password", &[], TriedMethod::Password),
        ("keyboard-interactive", &[0; 8], TriedMethod::Password),
        ("hostbased", &[0xff; 40], TriedMethod::Other),
        ("gssapi-with-mic", &[0xff; 4], TriedMethod::Other),
        ("", &[], TriedMethod::Other),
        ("publickey\0", &[], TriedMethod::Other),
    ];
    for (method, rest, expected) in cases {
        let mut raw = asked();
        assert_eq!(tried(&mut raw, &request(b"alice", method, rest)), expected, "{method:?}");
        assert_failure(&mut raw);
    }
}

/// Row S1; CVE-2024-45337: a key that was offered is not one that was proven, in whatever order.
#[test]
fn s1_the_key_that_signed_is_the_one_that_counts() {
    let privileged = certificate(&SigningKey::generate_ed25519());
    for (before, after) in [(1, 0), (3, 0), (1, 1)] {
        let mut raw = asked();
        for _ in 0..before {
            raw.say(&question(CERTIFIED.name(), &privileged));
        }
        let request = raw.request("alice");
        raw.say(&request);
        for _ in 0..after {
            raw.say(&question(CERTIFIED.name(), &privileged));
        }
        let told = raw.settle();
        let [Told::Server(Event::Proof(proof))] = &told[..] else { panic!("{told:?}") };
        assert_ne!(proof.blob(), privileged);
        assert_eq!(raw.heard.len(), before, "questions are answered until the proof");
    }
}

/// The signature of one key does for no other.
#[test]
fn s1_a_signature_does_for_its_own_key_only() {
    let mut raw = asked();
    let mut message = raw.request("alice");
    let theirs = certificate(&SigningKey::generate_ed25519());
    let at = message
        .windows(4)
        .position(|window| window == (theirs.len() as u32).to_be_bytes())
        .expect("its length");
    message[at + 4..at + 4 + theirs.len()].copy_from_slice(&theirs);
    assert!(proof(&mut raw, &message).verify().is_err());
}

/// Row S6; CVE-2026-39828: there is no partial success: a server never says one, and a client that is told of one is not
/// in.
#[test]
fn s6_a_partial_success_is_none() {
    let mut raw = asking();
    let mut partial = vec![USERAUTH_FAILURE];
    partial.put_string(b"publickey,password");
    partial.put_boolean(true);
    raw.say(&granted());
    raw.say(&partial);
    raw.say(&[USERAUTH_SUCCESS]);
    let told = raw.settle();
    assert!(matches!(told[..], [Told::Client(client::Event::Refused)]), "{told:?}");
    let End::Client(end) = raw.end else { panic!("a client") };
    assert!(end.connection().is_err());
}

/// wolfSSH: what one connection has established is nothing to another; each has its own state, and a server that is
/// asked for more while it judges does not look.
#[test]
fn s2_nothing_is_taken_while_a_proof_is_judged() {
    let mut raw = asked();
    let message = raw.request("alice");
    drop(proof(&mut raw, &message));
    raw.say(&[crate::message::CHANNEL_OPEN]);
    raw.say(&request(b"root", "none", b""));
    raw.deliver().expect("it waits");
    assert!(raw.untaken() > 0 && raw.told().is_none());
    let End::Server(end) = &mut raw.end else { panic!("a server") };
    end.refuse().expect("may try again");
    let text = raw.refuses(&[]);
    assert!(text.contains("message 90 is not expected before authentication"), "{text}");
}
