//! What a stranger shows of a TPM: its keys, their certificate, and that certificate's authority.
#![no_main]

use join::tpm::{AttestationKey, EndorsementCertificate, EndorsementKey};
use libfuzzer_sys::fuzz_target;

/// Of a TPM of software.
const CERTIFICATE: &[u8] = include_bytes!("../examples/endorsement-certificate.der");

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice & 3 {
        0 => {
            if let Ok(key) = EndorsementKey::from_spki_der(rest) {
                assert_eq!(key.spki_der(), rest, "a key has one form");
                assert_eq!(key.hash().len(), 64);
            }
        }
        1 => {
            if let Ok(key) = AttestationKey::parse(rest) {
                let attributes = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
                assert_eq!(
                    attributes & 0x0007_0032,
                    0x0005_0032,
                    "restricted, to signing, and fixed to its TPM"
                );
                assert_eq!(key.name().len(), 34);
            }
        }
        2 => none_is_verified(rest, CERTIFICATE),
        _ => none_is_verified(CERTIFICATE, rest),
    }
});

/// Nobody who does not know the authority's key makes a certificate, nor an authority of this one's name.
fn none_is_verified(certificate: &[u8], authority: &[u8]) {
    let key = EndorsementKey::from_spki_der(&endorsement()).expect("a key");
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
    let verified = EndorsementCertificate::verify(certificate, &key, &[authority.to_vec()], now);
    assert!(verified.is_err());
}

/// The key that the certificate is about, as its TPM shows it: the certificate has the same bytes.
fn endorsement() -> Vec<u8> {
    const LENGTH: usize = 294;
    let begin = [0x30, 0x82, 0x01, 0x22];
    let at = CERTIFICATE.windows(4).position(|bytes| bytes == begin).expect("is in it");
    CERTIFICATE[at..at + LENGTH].to_vec()
}
