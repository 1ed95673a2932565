//! Public keys as they come over the wire (RFC 4253, section 6.6; RFC 5656; RFC 8709; PROTOCOL.certkeys).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::KeyError;
use crate::algorithms::{KeyAlgorithm, SignatureScheme};
use crate::wire::{Reader, Writer};

/// The longest key or certificate that is looked at.
const LONGEST: usize = 16 * 1024;

/// The name of the curve, in the key of that curve (RFC 5656, section 10.1).
const CURVE: &[u8] = b"nistp256";

/// A public key as a stranger sent it, read and found good: Ed25519, ECDSA with P-256, or RSA with 2048 to 8192 bits and
/// an odd exponent of at most 32 bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(pub(super) Kind);

/// The key itself, by its type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Ed25519([u8; 32]),
    /// The point, uncompressed.
    P256([u8; 65]),
    /// Modulus and exponent, most significant byte first, without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
}

impl PublicKey {
    /// Reads a plain key: exactly its bytes and nothing behind them.
    pub fn read(blob: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(blob);
        let kind = match reader.string()? {
            b"ssh-ed25519" => Kind::ed25519(&mut reader)?,
            b"ecdsa-sha2-nistp256" => Kind::p256(&mut reader)?,
            b"ssh-rsa" => Kind::rsa(&mut reader)?,
            _ => return Err(KeyError::Unsupported),
        };
        reader.end()?;
        Ok(Self(kind))
    }

    /// Reads the key that a blob of this algorithm is about: a plain key, or the one whose owner an OpenSSH certificate
    /// certifies. The certificate is not judged, and what comes behind the key in it is not even read.
    pub fn of(algorithm: KeyAlgorithm, blob: &[u8]) -> Result<Self, KeyError> {
        if blob.len() > LONGEST {
            return Err(KeyError::Malformed);
        }
        let mut reader = Reader::new(blob);
        if reader.string()? != algorithm.scheme.key_name(algorithm.certificate).as_bytes() {
            return Err(KeyError::OtherType);
        }
        if algorithm.certificate {
            let _nonce = reader.string()?;
        }
        let kind = match algorithm.scheme {
            SignatureScheme::Ed25519 => Kind::ed25519(&mut reader)?,
            SignatureScheme::EcdsaP256 => Kind::p256(&mut reader)?,
            SignatureScheme::RsaSha512 | SignatureScheme::RsaSha256 => Kind::rsa(&mut reader)?,
        };
        if !algorithm.certificate {
            reader.end()?;
        }
        Ok(Self(kind))
    }

    /// The plain key as it goes over the wire.
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(self.name().as_bytes());
        match &self.0 {
            Kind::Ed25519(key) => blob.put_string(key),
            Kind::P256(point) => {
                blob.put_string(CURVE);
                blob.put_string(point);
            }
            Kind::Rsa { n, e } => {
                blob.put_mpint(e);
                blob.put_mpint(n);
            }
        }
        blob
    }

    /// As `ssh-keygen -l` prints it: `SHA256:` and the hash of the blob in base64.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &self.blob())))
    }

    /// How a key of this type signs, most preferred first.
    #[must_use]
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        match self.0 {
            Kind::Ed25519(_) => &[SignatureScheme::Ed25519],
            Kind::P256(_) => &[SignatureScheme::EcdsaP256],
            Kind::Rsa { .. } => &[SignatureScheme::RsaSha512, SignatureScheme::RsaSha256],
        }
    }

    fn name(&self) -> &'static str {
        self.schemes()[0].key_name(false)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.fingerprint())
    }
}

impl Kind {
    /// RFC 8709, section 4.
    fn ed25519(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        let key = reader.string()?.try_into().map_err(|_| KeyError::Malformed)?;
        Ok(Self::Ed25519(key))
    }

    /// RFC 5656, section 3.1: the curve is said twice, and must be the same both times. Uncompressed points only, as
    /// OpenSSH has it, and on the curve.
    fn p256(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        if reader.string()? != CURVE {
            return Err(KeyError::OtherType);
        }
        let point: [u8; 65] = reader.string()?.try_into().map_err(|_| KeyError::Malformed)?;
        if point[0] != 4 || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_err() {
            return Err(KeyError::Malformed);
        }
        Ok(Self::P256(point))
    }

    /// RFC 4253, section 6.6. Bounded before anything is computed with it, so that a stranger cannot make us work.
    fn rsa(reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        let (e, n) = (reader.positive(LONGEST)?, reader.positive(LONGEST)?);
        Self::of_numbers(n, e)
    }

    /// An RSA key of these numbers, most significant byte first, without leading zeros.
    pub(super) fn of_numbers(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let acceptable = (2048..=8192).contains(&bits(n)) && bits(e) <= 32 && odd(n) && odd(e) && e != [1];
        if !acceptable {
            return Err(KeyError::Weak);
        }
        Ok(Self::Rsa { n: n.into(), e: e.into() })
    }
}

/// How many bits a number without leading zero bytes has.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - usize::try_from(unused).expect("at most 8")
}

fn odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}
