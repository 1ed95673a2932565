//! What is refused among public keys and signatures, and that nothing a stranger sends makes the reader panic.

use proptest::prelude::*;
use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::keys::{KeyError, PublicKey, SigningKey};

const ED25519: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::Ed25519, certificate: false };
const P256: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::EcdsaP256, certificate: false };
const RSA: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::RsaSha256, certificate: false };

/// Each part as a `string` of RFC 4251.
fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let string = |part: &&[u8]| [&u32::try_from(part.len()).expect("short").to_be_bytes(), *part].concat();
    parts.iter().flat_map(string).collect()
}

/// An odd modulus of so many bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut n = vec![0xa5; bits.div_ceil(8)];
    n[0] = match bits % 8 {
        0 => 0x81,
        1 => 1,
        used => (1 << (used - 1)) | 1,
    };
    n
}

fn rsa(e: &[u8], n: &[u8]) -> Vec<u8> {
    let signed =
        |number: &[u8]| if number[0] & 0x80 == 0 { number.to_vec() } else { [&[0], number].concat() };
    strings(&[b"ssh-rsa", &signed(e), &signed(n)])
}

#[test]
fn what_is_signed_is_verified() {
    for key in [SigningKey::generate_ed25519(), SigningKey::generate_p256()] {
        let public = PublicKey::read(&key.public().blob()).expect("is read");
        assert_eq!(&public, key.public());
        for scheme in key.schemes() {
            // Often: now and then the numbers of ECDSA have leading zeros or need a sign byte.
            for round in 0..200_u32 {
                let message = round.to_be_bytes();
                let signature = key.sign(*scheme, &message).expect("signs");
                assert_eq!(public.verify(*scheme, &message, &signature), Ok(()));
                assert_eq!(public.verify(*scheme, b"other", &signature), Err(KeyError::WrongSignature));
            }
            let signature = key.sign(*scheme, b"").expect("signs");
            let other = SigningKey::generate_ed25519();
            assert!(other.public().verify(*scheme, b"", &signature).is_err(), "another key");
        }
    }
}

#[test]
fn a_signature_names_its_scheme_and_ends_with_itself() {
    for (key, other) in [
        (SigningKey::generate_ed25519(), SignatureScheme::EcdsaP256),
        (SigningKey::generate_p256(), SignatureScheme::RsaSha512),
    ] {
        let (public, scheme) = (key.public(), key.schemes()[0]);
        let signature = key.sign(scheme, b"message").expect("signs");
        assert_eq!(public.verify(other, b"message", &signature), Err(KeyError::OtherType));
        assert_eq!(key.sign(other, b"message"), Err(KeyError::OtherType));

        let renamed = strings(&[other.name().as_bytes(), &signature[4 + scheme.name().len() + 4..]]);
        assert_eq!(public.verify(other, b"message", &renamed), Err(KeyError::OtherType));
        let longer = [&signature[..], &[0]].concat();
        assert_eq!(public.verify(scheme, b"message", &longer), Err(KeyError::Malformed));
        for end in 0..signature.len() {
            assert_eq!(
                public.verify(scheme, b"message", &signature[..end]),
                Err(KeyError::Malformed),
                "{end}"
            );
        }
    }
}

/// RFC 5656, section 3.1.2: r and s are positive numbers, in one form.
#[test]
fn rfc5656_3_1_2_numbers_that_are_none_are_refused() {
    let key = SigningKey::generate_p256();
    let verify = |r: &[u8], s: &[u8]| {
        let signature = strings(&[b"ecdsa-sha2-nistp256", &strings(&[r, s])]);
        key.public().verify(SignatureScheme::EcdsaP256, b"message", &signature)
    };
    for bad in [&[][..], &[0], &[0x80], &[0, 1], &[1; 33]] {
        assert_eq!(verify(bad, &[1]), Err(KeyError::Malformed), "{bad:?}");
        assert_eq!(verify(&[1], bad), Err(KeyError::Malformed), "{bad:?}");
    }
    assert_eq!(verify(&[1], &[1]), Err(KeyError::WrongSignature));
    assert_eq!(verify(&[0x7f; 32], &[0x7f; 32]), Err(KeyError::WrongSignature));
    let above_the_order = [&[0][..], &[0xff; 32]].concat();
    assert_eq!(verify(&above_the_order, &above_the_order), Err(KeyError::WrongSignature));
}

/// RFC 8032, section 5.1.7: s is below the order, so that nobody makes a second signature out of a first one.
#[test]
fn rfc8032_5_1_7_a_signature_has_one_form() {
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = hex::decode(ORDER).expect("hex");
    let key = SigningKey::generate_ed25519();
    let mut signature = key.sign(SignatureScheme::Ed25519, b"message").expect("signs");
    let start = signature.len() - order.len();
    let mut carry = 0;
    for (byte, order) in signature[start..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    let verified = key.public().verify(SignatureScheme::Ed25519, b"message", &signature);
    assert_eq!(verified, Err(KeyError::WrongSignature));
}

/// CVE-2026-46598: elsewhere, an Ed25519 key or signature of another length made the reader panic.
#[test]
fn cve_2026_46598_malformed_ed25519_is_refused() {
    let key = SigningKey::generate_ed25519();
    for length in [0, 1, 31, 33, 64, 4096] {
        let blob = strings(&[b"ssh-ed25519", &vec![7; length]]);
        assert_eq!(PublicKey::read(&blob), Err(KeyError::Malformed), "{length}");
        assert_eq!(PublicKey::of(ED25519, &blob), Err(KeyError::Malformed), "{length}");
    }
    for length in [0, 1, 32, 63, 65, 4096] {
        let signature = strings(&[b"ssh-ed25519", &vec![7; length]]);
        let verified = key.public().verify(SignatureScheme::Ed25519, b"", &signature);
        assert_eq!(verified, Err(KeyError::WrongSignature), "{length}");
    }
    // No point of the curve: no signature is valid.
    let no_point = PublicKey::read(&strings(&[b"ssh-ed25519", &[2; 32]])).expect("has the length");
    let signature = key.sign(SignatureScheme::Ed25519, b"").expect("signs");
    assert_eq!(no_point.verify(SignatureScheme::Ed25519, b"", &signature), Err(KeyError::WrongSignature));
}

/// Row C12 and CVE-2026-39829: elsewhere, large numbers burnt minutes before anyone was known. Here nothing is computed
/// with them.
#[test]
fn cve_2026_39829_rsa_keys_out_of_bounds_are_refused() {
    let e = [1, 0, 1];
    for bits in [8, 1024, 2047, 8193, 16384, 65536] {
        assert_eq!(PublicKey::read(&rsa(&e, &modulus(bits))), Err(KeyError::Weak), "{bits} bits");
        assert_eq!(PublicKey::of(RSA, &rsa(&e, &modulus(bits))), Err(KeyError::Weak), "{bits} bits");
    }
    assert_eq!(PublicKey::read(&rsa(&e, &modulus(1 << 20))), Err(KeyError::Malformed), "longer than any key");
    for bits in [2048, 2049, 3072, 4095, 8192] {
        let key = PublicKey::read(&rsa(&e, &modulus(bits))).expect("is read");
        assert_eq!(key.blob(), rsa(&e, &modulus(bits)), "{bits} bits");
    }
}

#[test]
fn rsa_numbers_that_are_no_key_are_refused() {
    let n = modulus(2048);
    for e in [&[1][..], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1], &[0x5b; 256]] {
        assert_eq!(PublicKey::read(&rsa(e, &n)), Err(KeyError::Weak), "exponent {e:?}");
    }
    for e in [&[3][..], &[17], &[0xff, 0xff, 0xff, 0xff]] {
        assert!(PublicKey::read(&rsa(e, &n)).is_ok(), "exponent {e:?}");
    }
    let even = [&n[..255], &[2]].concat();
    assert_eq!(PublicKey::read(&rsa(&[3], &even)), Err(KeyError::Weak), "an even modulus");
    let signed = [&[0][..], &n].concat();
    for (e, n) in [(&[0x80][..], &signed[..]), (&[], &signed), (&[0, 3], &signed), (&[3], &[]), (&[3], &n)] {
        assert_eq!(
            PublicKey::read(&strings(&[b"ssh-rsa", e, n])),
            Err(KeyError::Malformed),
            "exponent {e:?}"
        );
    }
}

/// A signature that is longer than the modulus, one that is no number below it, and none at all.
#[test]
fn rsa_signatures_that_are_none_are_refused() {
    for bits in [2048, 2049, 8192] {
        let key = PublicKey::read(&rsa(&[1, 0, 1], &modulus(bits))).expect("is read");
        for scheme in [SignatureScheme::RsaSha256, SignatureScheme::RsaSha512] {
            let verify =
                |signature: &[u8]| key.verify(scheme, b"", &strings(&[scheme.name().as_bytes(), signature]));
            assert_eq!(verify(&vec![0; bits.div_ceil(8) + 1]), Err(KeyError::Malformed));
            for signature in [vec![], vec![0; bits / 8], vec![0xff; bits.div_ceil(8)], vec![1]] {
                assert_eq!(verify(&signature), Err(KeyError::WrongSignature));
            }
        }
    }
}

/// Row C12: the curve is named twice in a key, and the algorithm names it a third time.
#[test]
fn c12_a_curve_that_does_not_match_is_refused() {
    let blob = SigningKey::generate_p256().public().blob();
    let point = &blob[blob.len() - 65..];
    let key = |name: &[u8], curve: &[u8], point: &[u8]| PublicKey::read(&strings(&[name, curve, point]));
    assert!(key(b"ecdsa-sha2-nistp256", b"nistp256", point).is_ok());
    assert_eq!(key(b"ecdsa-sha2-nistp256", b"nistp384", point), Err(KeyError::OtherType));
    assert_eq!(key(b"ecdsa-sha2-nistp384", b"nistp256", point), Err(KeyError::Unsupported));

    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let hybrid = [&[6 + (point[64] & 1)], &point[1..]].concat();
    let mut off_the_curve = point.to_vec();
    off_the_curve[64] ^= 1;
    for bad in [&compressed[..], &hybrid, &off_the_curve, &[4; 97], &[0], &[]] {
        assert_eq!(key(b"ecdsa-sha2-nistp256", b"nistp256", bad), Err(KeyError::Malformed), "{bad:?}");
    }
}

/// A key must be of the type that was negotiated, and a plain key is no certificate.
#[test]
fn a_key_of_another_type_than_the_algorithm_is_refused() {
    let keys = [
        (ED25519, SigningKey::generate_ed25519().public().blob()),
        (P256, SigningKey::generate_p256().public().blob()),
        (RSA, rsa(&[3], &modulus(2048))),
    ];
    for (of, blob) in &keys {
        for algorithm in KeyAlgorithm::ALL {
            let same = algorithm.scheme.key_name(algorithm.certificate) == of.scheme.key_name(false);
            let read = PublicKey::of(algorithm, blob);
            assert_eq!(read.is_ok(), same, "{of} as {algorithm}");
            assert!(same || read == Err(KeyError::OtherType), "{of} as {algorithm}");
        }
        let longer = [&blob[..], &[0]].concat();
        assert_eq!(PublicKey::of(*of, &longer), Err(KeyError::Malformed));
        assert_eq!(PublicKey::read(&longer), Err(KeyError::Malformed));
    }
}

/// Row C12, and CVE-2026-39831, where nobody looked whether a finger had touched the security key: such keys, DSA and
/// whatever else there is are not taken at all.
#[test]
fn cve_2026_39831_other_types_of_key_are_refused() {
    for name in [
        "ssh-dss",
        "ssh-ed448",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-256",
        "rsa-sha2-512",
        "ssh-ed25519-cert-v01@openssh.com",
        "SSH-ED25519",
        "ssh-ed25519\0",
        "",
    ] {
        let blob = strings(&[name.as_bytes(), &[7; 32]]);
        assert_eq!(PublicKey::read(&blob), Err(KeyError::Unsupported), "{name}");
    }
}

#[test]
fn private_keys_that_are_none_are_refused_and_none_prints_itself() {
    for der in [&[][..], &[0x30, 0], &[0x30, 0x80], &[0; 4096]] {
        assert_eq!(SigningKey::from_pkcs8(der).err(), Some(KeyError::Unsupported));
    }
    let key = SigningKey::generate_ed25519();
    assert_eq!(format!("{key:?}"), format!("SigningKey(ssh-ed25519 {})", key.public().fingerprint()));
}

proptest! {
    #[test]
    fn whatever_comes_there_is_no_panic(bytes: Vec<u8>, message: Vec<u8>) {
        let _ = PublicKey::read(&bytes);
        let _ = SigningKey::from_pkcs8(&bytes);
        for algorithm in KeyAlgorithm::ALL {
            let _ = PublicKey::of(algorithm, &bytes);
            let named = strings(&[algorithm.scheme.key_name(algorithm.certificate).as_bytes()]);
            let _ = PublicKey::of(algorithm, &[&named[..], &bytes].concat());
        }
        for key in [SigningKey::generate_ed25519(), SigningKey::generate_p256()] {
            let scheme = key.schemes()[0];
            prop_assert!(key.public().verify(scheme, &message, &bytes).is_err());
            let named = strings(&[scheme.name().as_bytes(), &bytes]);
            prop_assert!(key.public().verify(scheme, &message, &named).is_err());
        }
    }

    /// A key that is read is the key that was sent, byte by byte: no two blobs are the same key.
    #[test]
    fn what_is_read_is_what_was_sent(at: prop::sample::Index, with: u8) {
        let keys = [
            SigningKey::generate_ed25519().public().blob(),
            SigningKey::generate_p256().public().blob(),
            rsa(&[1, 0, 1], &modulus(2048)),
        ];
        for mut blob in keys {
            let at = at.index(blob.len());
            blob[at] = with;
            if let Ok(key) = PublicKey::read(&blob) {
                prop_assert_eq!(key.blob(), blob);
            }
        }
    }
}
