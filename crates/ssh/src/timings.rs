//! How long the primitives take, on this machine and this build.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::algorithms::{Cipher, KeyExchange};
use crate::cipher::{LENGTH, Opening, Sealing, TAG};
use crate::exchange::{Started, respond};
use crate::keys::{PublicKey, SigningKey};

/// The mean of a second's worth of rounds.
fn each(what: &str, mut round: impl FnMut()) {
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        round();
        rounds += 1;
    }
    eprintln!("{what:<60} {:>10.2} us", (start.elapsed() / rounds).as_secs_f64() * 1e6);
}

#[test]
#[ignore = "measures: cargo test --release -p ssh --lib -- --ignored --nocapture primitives"]
fn primitives() {
    for method in KeyExchange::ALL {
        let init = Started::new(method).expect("starts").init().to_vec();
        each(&format!("{method}, client: start"), || drop(black_box(Started::new(method))));
        each(&format!("{method}, server: whole"), || drop(black_box(respond(method, &init))));
        each(&format!("{method}, both sides"), || {
            let started = Started::new(method).expect("starts");
            let (reply, _) = respond(method, started.init()).expect("answers");
            drop(black_box(started.finish(&reply)));
        });
    }
    for key in [SigningKey::generate_ed25519(), SigningKey::generate_p256()] {
        let (public, scheme, message) = (key.public(), key.schemes()[0], [7; 300]);
        let (blob, signature) = (public.blob(), key.sign(scheme, &message).expect("signs"));
        each(&format!("{} read", scheme.name()), || drop(black_box(PublicKey::read(&blob))));
        each(&format!("{} sign", scheme.name()), || drop(black_box(key.sign(scheme, &message))));
        each(&format!("{} verify", scheme.name()), || {
            public.verify(scheme, &message, &signature).expect("is valid");
        });
    }
    rsa();
    for cipher in Cipher::ALL {
        bulk(cipher);
    }
}

/// The worst that a stranger can make us do: the largest modulus and the largest exponent.
fn rsa() {
    use crate::algorithms::SignatureScheme::RsaSha512;
    use crate::wire::Writer;
    for bytes in [256, 512, 1024] {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-rsa");
        blob.put_mpint(&[0xff; 4]);
        blob.put_mpint(&vec![0xff; bytes]);
        let mut signature = Vec::new();
        signature.put_string(RsaSha512.name().as_bytes());
        signature.put_string(&vec![0x7f; bytes]);
        let key = PublicKey::read(&blob).expect("is read");
        each(&format!("RSA {} bits, exponent of 32 bits, verify", bytes * 8), || {
            key.verify(RsaSha512, &[7; 300], &signature).expect_err("is not valid");
        });
    }
}

fn bulk(cipher: Cipher) {
    const BODY: usize = 32 * 1024;
    let (key, iv) = (vec![1; cipher.key_length()], vec![2; cipher.iv_length()]);
    let (mut sealing, mut opening) = (Sealing::new(cipher, &key, &iv), Opening::new(cipher, &key, &iv));
    let mut packet = vec![0; LENGTH + BODY + TAG];
    each(&format!("{cipher}, seal 32 KiB"), || sealing.seal(0, black_box(&mut packet)));
    let mut sealing = Sealing::new(cipher, &key, &iv);
    each(&format!("{cipher}, seal and open 32 KiB"), || {
        sealing.seal(0, black_box(&mut packet));
        opening.open(0, &mut packet).expect("is opened");
    });
}
