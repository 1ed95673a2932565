//! Keys and signatures of strangers, and private keys from files.
#![no_main]

use fuzz::keys;
use libfuzzer_sys::fuzz_target;
use ssh::algorithms::KeyAlgorithm;
use ssh::keys::{PublicKey, SigningKey};

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let algorithm = KeyAlgorithm::ALL[usize::from(*choice) % KeyAlgorithm::ALL.len()];
    match choice >> 3 & 3 {
        0 => {
            if let Ok(key) = PublicKey::read(rest) {
                assert_eq!(key.blob(), rest, "a key has one form");
                assert!(!key.fingerprint().is_empty() && !key.schemes().is_empty());
            }
        }
        1 => {
            if let Ok(key) = PublicKey::of(algorithm, rest) {
                assert!(key.schemes().contains(&algorithm.scheme));
                assert_eq!(PublicKey::read(&key.blob()).as_ref(), Ok(&key));
            }
        }
        2 => signature(algorithm, rest),
        _ => {
            if let Ok(key) = SigningKey::from_pkcs8(rest) {
                let scheme = key.schemes()[0];
                let signature = key.sign(scheme, b"message").expect("signs");
                key.public().verify(scheme, b"message", &signature).expect("is its own");
            }
        }
    }
});

/// Of a key of our own: only the signature that it has made is taken.
fn signature(algorithm: KeyAlgorithm, signature: &[u8]) {
    let verified = keys::HOST.public().verify(algorithm.scheme, b"message", signature);
    let right = keys::HOST.sign(keys::PLAIN.scheme, b"message").expect("signs");
    assert_eq!(verified.is_ok(), algorithm.scheme == keys::PLAIN.scheme && signature == right);
    // A key and a signature, one after the other.
    if let Some((length, rest)) = signature.split_first()
        && let Some((blob, signature)) = rest.split_at_checked(usize::from(*length) * 4)
        && let Ok(key) = PublicKey::of(algorithm, blob)
    {
        _ = key.verify(algorithm.scheme, b"message", signature);
    }
}
