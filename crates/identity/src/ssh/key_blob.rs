//! Public key blobs (RFC 4253, section 6.6): which kinds a certificate may be about, which may sign one,
//! and the check of a signature by the latter.

use super::wire::{Reader, put_string};
use crate::Refusal;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, UnparsedPublicKey,
};

const ED25519_NAME: &str = "ssh-ed25519";
const P256_NAME: &str = "ecdsa-sha2-nistp256";
const P256_CURVE: &str = "nistp256";
const RSA_NAME: &str = "ssh-rsa";
/// The sizes of RSA keys that people bring; larger ones only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The key a certificate is about, as a plain key's blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectBlob {
    blob: Vec<u8>,
    rsa: bool,
}

impl SubjectBlob {
    /// Reads the key's own fields from a certificate, the algorithm's plain name being known.
    pub(crate) fn read(algorithm: &str, reader: &mut Reader<'_>) -> Result<Self, Refusal> {
        let mut blob = Vec::with_capacity(128);
        put_string(&mut blob, algorithm.as_bytes());
        match algorithm {
            ED25519_NAME => put_string(&mut blob, ed25519(reader)?),
            P256_NAME => {
                let point = p256(reader)?;
                put_string(&mut blob, P256_CURVE.as_bytes());
                put_string(&mut blob, point);
            }
            _ => rsa(reader, &mut blob)?,
        }
        Ok(Self { blob, rsa: algorithm == RSA_NAME })
    }

    /// The plain key's blob.
    pub fn as_bytes(&self) -> &[u8] {
        &self.blob
    }

    /// Whether it is an RSA key; users may have one, hosts may not.
    pub fn is_rsa(&self) -> bool {
        self.rsa
    }

    /// The key in the SSH crate's type.
    pub fn to_key(&self) -> Result<ssh_key::PublicKey, Refusal> {
        ssh_key::PublicKey::from_bytes(&self.blob).map_err(|_| Refusal::BadKey("it cannot be read"))
    }
}

/// Whether a certificate may be about such a key.
pub(crate) fn is_subject_algorithm(name: &str) -> bool {
    matches!(name, ED25519_NAME | P256_NAME | RSA_NAME)
}

/// Whether `blob` is a well-formed key of a kind that may be an authority: Ed25519 or P-256.
pub(crate) fn check_authority(blob: &[u8]) -> Result<(), Refusal> {
    authority(blob).map(|_| ())
}

enum AuthorityKey<'a> {
    Ed25519(&'a [u8]),
    P256(&'a [u8]),
}

fn authority(blob: &[u8]) -> Result<AuthorityKey<'_>, Refusal> {
    let mut reader = Reader::new(blob);
    let key = match reader.text("signature key")? {
        ED25519_NAME => AuthorityKey::Ed25519(ed25519(&mut reader)?),
        P256_NAME => AuthorityKey::P256(p256(&mut reader)?),
        other => return Err(Refusal::AlgorithmNotAllowed(super::certificate::shortened(other))),
    };
    reader.finish("signature key")?;
    Ok(key)
}

/// Checks an SSH signature blob over `message` by an authority's key. The signature's algorithm must be
/// the key's own.
pub(crate) fn verify(authority_blob: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
    let key = authority(authority_blob)?;
    let mut reader = Reader::new(signature);
    let algorithm = reader.text("signature")?;
    let body = reader.bytes("signature")?;
    reader.finish("signature")?;
    let verified = match (key, algorithm) {
        (AuthorityKey::Ed25519(key), ED25519_NAME) => {
            UnparsedPublicKey::new(&ED25519, key).verify(message, body)
        }
        (AuthorityKey::P256(point), P256_NAME) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &fixed(body)?)
        }
        (_, other) => return Err(Refusal::AlgorithmNotAllowed(super::certificate::shortened(other))),
    };
    verified.map_err(|_| Refusal::BadSignature)
}

/// `r` and `s` as two integers of 32 bytes each (RFC 5656, section 3.1.2, has them at their own lengths).
fn fixed(body: &[u8]) -> Result<[u8; 64], Refusal> {
    let mut reader = Reader::new(body);
    let mut out = [0; 64];
    for half in out.chunks_exact_mut(32) {
        let number = reader.positive("signature")?;
        let start = half.len().checked_sub(number.len()).ok_or(Refusal::Malformed("signature"))?;
        half[start..].copy_from_slice(number);
    }
    reader.finish("signature")?;
    Ok(out)
}

fn ed25519<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Refusal> {
    let key = reader.bytes("key")?;
    match key.len() {
        32 => Ok(key),
        _ => Err(Refusal::Malformed("key")),
    }
}

fn p256<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Refusal> {
    if reader.text("curve")? != P256_CURVE {
        return Err(Refusal::BadKey("its curve is not the one of its algorithm"));
    }
    let point = reader.bytes("key")?;
    if point.len() != 65 || point[0] != 4 || ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).is_err() {
        return Err(Refusal::BadKey("it is not a point on P-256"));
    }
    Ok(point)
}

fn rsa(reader: &mut Reader<'_>, blob: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut body = Vec::new();
    let exponent = reader.positive("key")?;
    let modulus = reader.positive("key")?;
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(Refusal::BadKey("RSA keys have 2048 to 8192 bits"));
    }
    if exponent.len() > 4 || exponent == [1] || exponent.last().is_none_or(|last| last & 1 == 0) {
        return Err(Refusal::BadKey("its RSA exponent is not a usual one"));
    }
    for number in [exponent, modulus] {
        put_integer(&mut body, number);
    }
    blob.extend_from_slice(&body);
    Ok(())
}

fn put_integer(out: &mut Vec<u8>, number: &[u8]) {
    match number.first() {
        Some(first) if first & 0x80 != 0 => put_string(out, &[&[0], number].concat()),
        _ => put_string(out, number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_answered(
            key in proptest::collection::vec(any::<u8>(), 0..200),
            signature in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = verify(&key, b"message", &signature);
            let _ = SubjectBlob::read(RSA_NAME, &mut Reader::new(&key));
        }
    }

    fn rsa_fields(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_integer(&mut out, exponent);
        put_integer(&mut out, modulus);
        out
    }

    #[test]
    fn rsa_keys_of_odd_sizes_are_refused() {
        let of = |exponent: &[u8], length: usize| {
            let fields = rsa_fields(exponent, &vec![0xff; length]);
            SubjectBlob::read(RSA_NAME, &mut Reader::new(&fields)).map(|_| ())
        };
        assert_eq!(of(&[1, 0, 1], 256), Ok(()));
        for (exponent, length) in [(&[1, 0, 1][..], 128), (&[1, 0, 1], 2048), (&[1], 256), (&[2], 256)] {
            assert_eq!(of(exponent, length).expect_err("refused").code(), "bad_key");
        }
        assert!(of(&[1; 5], 256).is_err());
    }

    #[test]
    fn a_curve_must_be_the_algorithms() {
        let mut fields = Vec::new();
        put_string(&mut fields, b"nistp384");
        put_string(&mut fields, &[4; 65]);
        let refusal = SubjectBlob::read(P256_NAME, &mut Reader::new(&fields)).expect_err("refused");
        assert_eq!(refusal.code(), "bad_key");
    }
}
