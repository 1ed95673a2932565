//! Public areas of keys (part 2, section 12.2), of the two kinds that are used: the endorsement key by the standard
//! templates (TCG EK Credential Profile, L-1 and L-2), and an attestation key on P-256.

use super::wire::{Reader, sized};
use aws_lc_rs::digest::{SHA256, digest};
use identity::key::PublicKey;

pub(super) const RSA: u16 = 0x0001;
pub(super) const AES: u16 = 0x0006;
pub(super) const SHA_256: u16 = 0x000b;
pub(super) const NULL: u16 = 0x0010;
pub(super) const ECDSA: u16 = 0x0018;
pub(super) const ECC: u16 = 0x0023;
pub(super) const CFB: u16 = 0x0043;
pub(super) const P256: u16 = 0x0003;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const ADMIN_WITH_POLICY: u32 = 1 << 7;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// Made in this TPM, never leaves it, signs only what the TPM itself says.
const OF_ATTESTATION: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN;
const OF_ENDORSEMENT: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT;

/// `PolicySecret(TPM_RH_ENDORSEMENT)`: using the endorsement key needs the endorsement hierarchy's authorization.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
const MODULUS: usize = 256;
const COORDINATE: usize = 32;

/// DER SubjectPublicKeyInfo (RFC 8017, A.1) of an RSA key of 2048 bits with the exponent 65537, before and after its
/// modulus: the encoding is unique.
const RSA_PREFIX: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
const RSA_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Where the key itself begins in both forms, which certificates hold under other names of the algorithm as well.
const RSA_KEY: usize = 24;
const EC_KEY: usize = 26;

/// Which endorsement key of a TPM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA of 2048 bits, which nearly every TPM has a certificate for.
    #[default]
    Rsa2048,
    /// ECC on P-256.
    EccP256,
}

/// Why a key is not one that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not the one encoding of such a key.
    #[error("the endorsement key is neither RSA of 2048 bits nor on P-256")]
    Endorsement,
    /// Not a public area of an ECDSA key on P-256.
    #[error("the attestation key is no ECDSA key on P-256")]
    Attestation,
    /// Some attribute is missing or is too much.
    #[error("the attestation key is not one that is restricted to signing and fixed to its TPM")]
    Attributes,
}

/// The public half of an endorsement key by a standard template. That a private half fits the template is what opening a
/// credential shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey {
    spki: Vec<u8>,
    algorithm: Algorithm,
}

impl EndorsementKey {
    /// From DER SubjectPublicKeyInfo, in the one form that [`Self::spki_der`] gives.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyFault> {
        if PublicKey::from_spki_der(der).is_ok() {
            return Ok(Self { spki: der.to_vec(), algorithm: Algorithm::EccP256 });
        }
        let modulus = der.strip_prefix(&RSA_PREFIX).and_then(|rest| rest.strip_suffix(&RSA_SUFFIX));
        let modulus = modulus.ok_or(KeyFault::Endorsement)?;
        Self::rsa(modulus)
    }

    fn rsa(modulus: &[u8]) -> Result<Self, KeyFault> {
        let is_whole = modulus.len() == MODULUS && modulus[0] & 0x80 != 0;
        if !is_whole || modulus[MODULUS - 1] & 1 == 0 {
            return Err(KeyFault::Endorsement);
        }
        let spki = [&RSA_PREFIX[..], modulus, &RSA_SUFFIX].concat();
        Ok(Self { spki, algorithm: Algorithm::Rsa2048 })
    }

    /// From the public area that a TPM gave, which must be by the template.
    pub(super) fn parse(area: &[u8], algorithm: Algorithm) -> Result<Self, KeyFault> {
        let template = Self::template(algorithm);
        let unique = unique_length(algorithm);
        let rest = area.strip_prefix(&template[..template.len() - unique]).ok_or(KeyFault::Endorsement)?;
        let mut reader = Reader::new(rest);
        let parsed = match algorithm {
            Algorithm::Rsa2048 => reader.sized(MODULUS).ok_or(KeyFault::Endorsement).and_then(Self::rsa),
            Algorithm::EccP256 => point(&mut reader)
                .and_then(|point| PublicKey::from_point(&point).ok())
                .map(|key| Self { spki: key.spki_der(), algorithm })
                .ok_or(KeyFault::Endorsement),
        };
        if reader.is_empty() { parsed } else { Err(KeyFault::Endorsement) }
    }

    /// The template that the TPM makes it by.
    pub(super) fn template(algorithm: Algorithm) -> Vec<u8> {
        let kind = match algorithm {
            Algorithm::Rsa2048 => RSA,
            Algorithm::EccP256 => ECC,
        };
        let mut area = numbers(&[kind, SHA_256]);
        area.extend(OF_ENDORSEMENT.to_be_bytes());
        area.extend(sized(&ENDORSEMENT_POLICY));
        area.extend(numbers(&[AES, 128, CFB, NULL]));
        match algorithm {
            Algorithm::Rsa2048 => {
                area.extend(numbers(&[2048, 0, 0]));
                area.extend(sized(&[0; MODULUS]));
            }
            Algorithm::EccP256 => {
                area.extend(numbers(&[P256, NULL]));
                area.extend([sized(&[0; COORDINATE]), sized(&[0; COORDINATE])].concat());
            }
        }
        area
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Which kind it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What rules name it by: SHA-256 of the SubjectPublicKeyInfo in hexadecimal.
    pub fn hash(&self) -> String {
        hex::encode(digest(&SHA256, &self.spki))
    }

    /// The key itself: an RSAPublicKey, or a point.
    pub(super) fn bits(&self) -> &[u8] {
        match self.algorithm {
            Algorithm::Rsa2048 => &self.spki[RSA_KEY..],
            Algorithm::EccP256 => &self.spki[EC_KEY..],
        }
    }
}

fn unique_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Rsa2048 => 2 + MODULUS,
        Algorithm::EccP256 => 2 * (2 + COORDINATE),
    }
}

/// An uncompressed point; coordinates may come without their leading zeros.
pub(super) fn point(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for _ in 0..2 {
        let coordinate = reader.sized(COORDINATE)?;
        point.extend(std::iter::repeat_n(0, COORDINATE - coordinate.len()));
        point.extend(coordinate);
    }
    Some(point)
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The public area of an attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    area: Vec<u8>,
}

impl AttestationKey {
    /// From a `TPMT_PUBLIC`, which must be of a key that was made in its TPM, never leaves it and signs only what the TPM
    /// itself says.
    pub fn parse(area: &[u8]) -> Result<Self, KeyFault> {
        let attributes = Self::attributes(area).ok_or(KeyFault::Attestation)?;
        match attributes & OF_ATTESTATION == OF_ATTESTATION && attributes & DECRYPT == 0 {
            true => Ok(Self { area: area.to_vec() }),
            false => Err(KeyFault::Attributes),
        }
    }

    fn attributes(area: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(area);
        if [reader.u16()?, reader.u16()?] != [ECC, SHA_256] {
            return None;
        }
        let attributes = reader.u32()?;
        reader.sized(64)?;
        let parameters = [NULL, ECDSA, SHA_256, P256, NULL];
        if reader.bytes(10)? != numbers(&parameters) {
            return None;
        }
        point(&mut reader)?;
        reader.is_empty().then_some(attributes)
    }

    /// The template that the joiner has it made by.
    pub(super) fn template() -> Vec<u8> {
        let mut area = numbers(&[ECC, SHA_256]);
        area.extend((OF_ATTESTATION | USER_WITH_AUTH | NO_DA).to_be_bytes());
        area.extend(sized(&[]));
        area.extend(numbers(&[NULL, ECDSA, SHA_256, P256, NULL]));
        area.extend([sized(&[]), sized(&[])].concat());
        area
    }

    /// Its name: the hash algorithm, then the hash of the public area (part 1, section 16).
    pub fn name(&self) -> Vec<u8> {
        [&SHA_256.to_be_bytes()[..], digest(&SHA256, &self.area).as_ref()].concat()
    }
}
