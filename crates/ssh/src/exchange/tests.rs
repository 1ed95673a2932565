use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{ExchangeError, Hash, Shared, Started, mlkem, respond, sntrup};
use crate::algorithms::KeyExchange;

/// What a client sends and what a server answers, in bytes.
const LENGTHS: [(KeyExchange, usize, usize); 3] = [
    (KeyExchange::MlKem768X25519, 1184 + 32, 1088 + 32),
    (KeyExchange::Sntrup761X25519, 1158 + 32, 1039 + 32),
    (KeyExchange::Curve25519, 32, 32),
];

/// The secret of the example in RFC 7748, section 6.1.
const RFC7748: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";

#[test]
fn both_sides_have_the_same_secret() {
    for (method, sent, answered) in LENGTHS {
        let started = Started::new(method).expect("starts");
        assert_eq!(started.init().len(), sent, "{method}");
        let (reply, theirs) = respond(method, started.init()).expect("answers");
        assert_eq!(reply.len(), answered, "{method}");
        let ours = started.finish(&reply).expect("ends");
        assert_eq!(ours.encoded(), theirs.encoded(), "{method}");
    }
}

#[test]
fn every_exchange_has_a_secret_of_its_own() {
    for method in KeyExchange::ALL {
        let started = Started::new(method).expect("starts");
        let (_, first) = respond(method, started.init()).expect("answers");
        let (_, second) = respond(method, started.init()).expect("answers");
        assert_ne!(first.encoded(), second.encoded(), "{method}");
        assert_ne!(started.init(), Started::new(method).expect("starts").init(), "{method}");
    }
}

/// draft-ietf-sshm-mlkem-hybrid-kex, section 2.4, and draft-ietf-sshm-ntruprime-ssh: the post-quantum part comes first in
/// what is sent and in what is hashed; the hash goes on as a string. Done here step by step with the library alone.
#[test]
fn the_hybrids_hash_the_post_quantum_secret_before_the_classical_one() {
    let classical = PrivateKey::generate(&X25519).expect("a key");
    let public = classical.compute_public_key().expect("its public half");

    let (secret, key) = mlkem::generate().expect("a key");
    let (reply, shared) =
        respond(KeyExchange::MlKem768X25519, &[&key, public.as_ref()].concat()).expect("answers");
    let quantum = secret.decapsulate(&reply[..1088]).expect("a secret");
    let expected = Hash::Sha256.digest(&[quantum.as_slice(), &agree(&classical, &reply[1088..])]);
    assert_eq!(shared.encoded(), [&[0, 0, 0, 32], expected.as_ref()].concat());

    let (secret, key) = sntrup::generate();
    let (reply, shared) =
        respond(KeyExchange::Sntrup761X25519, &[&key, public.as_ref()].concat()).expect("answers");
    let quantum = secret.decapsulate(&reply[..1039]).expect("a secret");
    let expected = Hash::Sha512.digest(&[quantum.as_slice(), &agree(&classical, &reply[1039..])]);
    assert_eq!(shared.encoded(), [&[0, 0, 0, 64], expected.as_ref()].concat());
}

/// RFC 8731, section 3.1: X25519's bytes are a number like any other, so leading zeros go and a sign byte comes. The
/// first is the secret of RFC 7748, section 6.1.
#[test]
fn rfc8731_3_1_a_classical_secret_is_an_mpint() {
    let cases = [
        (RFC7748.to_owned(), format!("00000020{RFC7748}")),
        (format!("80{}", "01".repeat(31)), format!("000000210080{}", "01".repeat(31))),
        (format!("007f{}", "01".repeat(30)), format!("0000001f7f{}", "01".repeat(30))),
        (format!("0000ff{}", "01".repeat(29)), format!("0000001f00ff{}", "01".repeat(29))),
    ];
    for (secret, encoded) in cases {
        let half = hex::decode(&secret).expect("hex").try_into().expect("32 bytes");
        assert_eq!(hex::encode(Shared::classical(&Zeroizing::new(half)).encoded()), encoded);
    }
}

/// RFC 7748, section 6.1: the example, which ends in the secret above.
#[test]
fn rfc7748_6_1_alice_and_bob() {
    let alice = hex::decode("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = hex::decode("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let alice = PrivateKey::from_private_key(&X25519, &alice.expect("hex")).expect("a key");
    assert_eq!(hex::encode(agree(&alice, &bob.expect("hex"))), RFC7748);
}

/// RFC 8731, section 3, and GHSA-cqvm-j2r2-hwpg: a point of low order would make the secret the same for everyone.
#[test]
fn ghsa_cqvm_j2r2_hwpg_points_of_low_order_are_refused() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for method in KeyExchange::ALL {
        let good = Started::new(method).expect("starts");
        let (answer, _) = respond(method, good.init()).expect("answers");
        for point in points {
            let point = hex::decode(point).expect("hex");
            let init = [&good.init()[..good.init().len() - 32], &point].concat();
            assert_eq!(respond(method, &init).err(), Some(ExchangeError::Invalid), "{method}");

            let reply = [&answer[..answer.len() - 32], &point].concat();
            let started = Started::new(method).expect("starts");
            assert_eq!(started.finish(&reply).err(), Some(ExchangeError::Invalid), "{method}");
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for (method, sent, answered) in LENGTHS {
        for found in [0, 1, 31, 33, 64, sent - 1, sent + 1, sent + 32, 4096] {
            let refused = Some(ExchangeError::Length { expected: sent, found });
            assert_eq!(respond(method, &vec![9; found]).err(), refused, "{method}");
        }
        for found in [0, 1, 31, 33, 64, answered - 1, answered + 1, answered + 32, 4096] {
            let started = Started::new(method).expect("starts");
            let refused = Some(ExchangeError::Length { expected: answered, found });
            assert_eq!(started.finish(&vec![9; found]).err(), refused, "{method}");
        }
    }
}

/// FIPS 203, section 7.2: coefficients of the encapsulation key are below 3329.
#[test]
fn fips203_7_2_a_key_out_of_range_is_refused() {
    let good = Started::new(KeyExchange::MlKem768X25519).expect("starts");
    let init = [&[0xff; 1184], &good.init()[1184..]].concat();
    assert_eq!(respond(KeyExchange::MlKem768X25519, &init).err(), Some(ExchangeError::Invalid));
}

/// A ciphertext that was changed on its way gives a secret that the other side does not have, and no error that would
/// tell an attacker something (implicit rejection).
#[test]
fn a_changed_ciphertext_gives_another_secret() {
    for method in [KeyExchange::MlKem768X25519, KeyExchange::Sntrup761X25519] {
        let started = Started::new(method).expect("starts");
        let (mut reply, theirs) = respond(method, started.init()).expect("answers");
        reply[17] ^= 1;
        let ours = started.finish(&reply).expect("ends");
        assert_ne!(ours.encoded(), theirs.encoded(), "{method}");
    }
}

#[test]
fn secrets_do_not_print_themselves() {
    let started = Started::new(KeyExchange::Curve25519).expect("starts");
    let (_, shared) = respond(KeyExchange::Curve25519, started.init()).expect("answers");
    assert_eq!(format!("{started:?}, {shared:?}"), "Started { method: Curve25519, .. }, Shared(..)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_there_is_no_panic(short: Vec<u8>, long in proptest::collection::vec(any::<u8>(), 1300)) {
        for (method, sent, answered) in LENGTHS {
            prop_assert!(short.len() == sent || respond(method, &short).is_err());
            // Of the right length, and random: most are refused by ML-KEM and by none of the others.
            let _ = respond(method, &long[..sent]);
            let _ = Started::new(method).expect("starts").finish(&long[..answered]);
        }
    }
}

fn agree(ours: &PrivateKey, theirs: &[u8]) -> Vec<u8> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agreement::agree(ours, theirs, (), |secret| Ok(secret.to_vec())).expect("agrees")
}
