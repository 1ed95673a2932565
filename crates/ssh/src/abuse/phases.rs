//! Which message may come when: every number in every phase, against both roles.

use std::time::Duration;

use crate::abuse::handshake::{agreed, before_new_keys, half_done};
use crate::connection::Limits;
use crate::error::Error;
use crate::message::{SERVICE_ACCEPT, SERVICE_REQUEST};
use crate::role::Role;
use crate::transport::raw::{Raw, settings};
use crate::wire::Writer as _;

/// How far a connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Identification,
    /// The peer's line came.
    BeforeKeys,
    /// The peer's `KEXINIT` came; the exchange is strict.
    FirstExchange,
    /// The peer's half came and its `NEWKEYS` did not.
    FirstNewKeys,
    /// There are keys; the service was not asked for, or not granted.
    Service,
    /// It was.
    Authentication,
    /// Something has to be answered by whoever drives the end.
    Judging,
    /// The client is in.
    Connection,
    /// The end wants fresh keys; the peer did not hear of it.
    Asked,
    /// The peer's `KEXINIT` came.
    Rekey,
    /// The peer's half came, under the old keys.
    RekeyNewKeys,
}

use Phase::{
    Asked, Authentication, BeforeKeys, Connection, FirstExchange, FirstNewKeys, Identification, Judging,
    Rekey, RekeyNewKeys, Service,
};

const PHASES: [Phase; 11] = [
    Identification,
    BeforeKeys,
    FirstExchange,
    FirstNewKeys,
    Service,
    Authentication,
    Judging,
    Connection,
    Asked,
    Rekey,
    RekeyNewKeys,
];

/// What becomes of a message that is nothing but its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing happens.
    Ignored,
    /// It is not looked at for now.
    Waits,
    /// It may come, and has its effect.
    Good,
    /// The connection ends: it may come, and not like this.
    Malformed,
    /// The connection ends with these words.
    Refused(&'static str),
    /// The connection ends with the number of what was not expected.
    Unexpected,
    /// It is the peer's goodbye.
    Goodbye,
}

use Fate::{Good, Goodbye, Ignored, Malformed, Refused, Unexpected, Waits};

/// The table.
fn fate(tried: Role, phase: Phase, number: u8) -> Fate {
    let server = tried == Role::Server;
    let open = matches!(phase, Service | Authentication | Connection | Asked);
    let connection = matches!(phase, Connection | Asked);
    match (number, phase) {
        (_, Identification) => Refused("does not speak SSH 2.0"),
        (_, Judging) => Waits,
        (1, _) => Goodbye,
        (2..=4, FirstExchange | FirstNewKeys) => Unexpected,
        (2..=4, _) => Ignored,
        (5, Service) if server => Malformed,
        (6, Service) if !server => Malformed,
        (7, Service | Authentication) => Malformed,
        (20, BeforeKeys | Connection | Asked) => Malformed,
        (20, Service | Authentication) => Refused("before authentication has finished"),
        (20, _) => Refused("a second KEXINIT"),
        (21, FirstNewKeys | RekeyNewKeys) => Good,
        (30, FirstExchange | Rekey) if server => Malformed,
        (31, FirstExchange | Rekey) if !server => Malformed,
        (50, Authentication) if server => Malformed,
        (50, Connection | Asked) if server => Ignored,
        (52, Authentication) if !server => Good,
        (51 | 53, Authentication) if !server => Malformed,
        (80 | 90..=100, _) if connection => Malformed,
        // Answers alone are looked at also during an exchange: paramiko sends them there.
        (81 | 82, Connection | Asked | Rekey | RekeyNewKeys) => {
            Refused("an answer to a request that was not made")
        }
        (192, _) if open => Malformed,
        (193, _) if connection => Refused("an answer to a ping that was not sent"),
        _ => Unexpected,
    }
}

fn against(tried: Role) -> Raw {
    match tried {
        Role::Server => Raw::against_server(settings(), Limits::default()),
        Role::Client => Raw::against_client(settings(), Limits::default()),
    }
}

/// An end that is so far.
fn at(tried: Role, phase: Phase) -> Raw {
    match phase {
        Identification => {
            let mut raw = against(tried);
            raw.take_said();
            raw
        }
        BeforeKeys => {
            let mut raw = against(tried);
            let begun = raw.take_said();
            let line = begun.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
            raw.deliver_bytes(&begun[..line]).expect("a line");
            raw
        }
        FirstExchange => agreed(tried),
        FirstNewKeys => before_new_keys(tried),
        Service => {
            let mut raw = against(tried);
            raw.exchange_keys();
            raw
        }
        Authentication => authenticating(tried),
        Judging => judging(tried),
        Connection => Raw::connected(tried, Limits::default()),
        Asked => {
            let mut raw = Raw::connected(tried, Limits::default());
            raw.connection().tick(Duration::ZERO).expect("nothing to do");
            raw.connection().tick(Duration::from_secs(3600)).expect("begins");
            raw
        }
        Rekey => {
            let mut raw = Raw::connected(tried, Limits::default());
            raw.rekey();
            raw.deliver().expect("allowed");
            raw
        }
        RekeyNewKeys => rekeyed_by_half(tried),
    }
}

fn authenticating(tried: Role) -> Raw {
    let mut raw = at(tried, Service);
    let mut service = vec![if tried == Role::Server { SERVICE_REQUEST } else { SERVICE_ACCEPT }];
    service.put_string(b"ssh-userauth");
    raw.say(&service);
    raw.settle();
    raw
}

/// A server judges a proof, a client whether it trusts the host.
fn judging(tried: Role) -> Raw {
    match tried {
        Role::Server => {
            let mut raw = authenticating(tried);
            raw.say(&raw.request("alice"));
            raw.deliver().expect("allowed");
            assert!(raw.told().is_some(), "a proof");
            raw
        }
        Role::Client => {
            let mut raw = half_done(tried);
            assert!(raw.told().is_some(), "a host key");
            raw
        }
    }
}

fn rekeyed_by_half(tried: Role) -> Raw {
    let mut raw = at(tried, Rekey);
    raw.say_half();
    raw.deliver().expect("a good half");
    raw.obey();
    raw
}

/// Whether a message meets its fate. What ends the connection says so, tells nobody and is the last.
fn meets(raw: &mut Raw, number: u8, fate: Fate) {
    raw.say(&[number]);
    let packet = raw.take_said();
    let words = match fate {
        Malformed => "malformed".to_owned(),
        Refused(words) => words.to_owned(),
        Unexpected => format!("message {number} is not expected"),
        Goodbye => {
            let gone = raw.deliver_bytes(&packet);
            assert!(matches!(gone, Err(Error::Disconnected { .. })), "{gone:?}");
            assert!(raw.told().is_none());
            return;
        }
        Waits | Ignored | Good => {
            raw.deliver_bytes(&packet).expect("it may come");
            assert_eq!(raw.untaken() > 0, fate == Waits);
            let told = raw.told();
            assert!(fate == Good || told.is_none(), "{told:?}");
            assert_eq!(raw.overhear(), 0, "no answer");
            return;
        }
    };
    let text = raw.refuses(&packet);
    assert!(text.contains(&words), "{text}");
}

fn every_number(tried: Role) {
    for phase in PHASES {
        let mut raw = None;
        for number in 1..=u8::MAX {
            let fate = fate(tried, phase, number);
            // What changes nothing leaves the end as it was.
            let raw = raw.get_or_insert_with(|| at(tried, phase));
            raw.overhear();
            eprintln!("{tried:?} {phase:?} {number} {fate:?}");
            meets(raw, number, fate);
            if fate != Ignored {
                *raw = at(tried, phase);
            }
        }
    }
}

/// Row S2; CVE-2018-10933, CVE-2026-67279: nothing of a later phase, of the other role, or that is not known.
#[test]
fn s2_a_server_takes_every_message_in_its_phase_only() {
    every_number(Role::Server);
}

/// Row S2: a client neither.
#[test]
fn s2_a_client_takes_every_message_in_its_phase_only() {
    every_number(Role::Client);
}
