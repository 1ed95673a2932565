//! PKCS #7 SignedData (RFC 2315, section 9; RFC 5652, section 5) as Azure makes it: one signer, its certificate, the content
//! inside. Attributes that are signed may be there.

use super::der::{self, CONTEXT_0, CONTEXT_1, INTEGER, OCTETS, OID, Reader, SEQUENCE, SET};
use super::{LONGEST_CERTIFICATE, LONGEST_DOCUMENT};
use aws_lc_rs::digest;
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::EndEntityCert;
use webpki::aws_lc_rs::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Object identifiers, encoded.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// Those of NIST's algorithms up to their last byte, which says which one.
const DIGESTS: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// The same of PKCS #1, and of ECDSA with SHA-2.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

const MOST_ATTRIBUTES: usize = 16;
const MOST_CERTIFICATES: usize = 8;

/// The parts of one; nothing of it has been verified.
pub(super) struct SignedData<'a> {
    /// What is signed.
    pub(super) content: &'a [u8],
    /// Certificates, DER.
    pub(super) certificates: Vec<&'a [u8]>,
    signer: Signer<'a>,
}

struct Signer<'a> {
    /// Of its certificate: DER of the issuer's name, and the bytes of the serial number.
    issuer: &'a [u8],
    serial: &'a [u8],
    digest: Digest,
    algorithm: Algorithm,
    /// What is in the set of attributes that are signed.
    attributes: Option<&'a [u8]>,
    signature: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rsa,
    Ecdsa,
}

impl<'a> SignedData<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        if der.len() > LONGEST_DOCUMENT {
            return None;
        }
        let mut outer = der::only(der, SEQUENCE)?;
        outer.take(OID).filter(|kind| kind.content == SIGNED_DATA)?;
        let mut inner = der::only(outer.take(CONTEXT_0)?.content, SEQUENCE)?;
        outer.end()?;
        inner.take(INTEGER)?;
        // Each signer says its own again.
        inner.take(SET)?;
        let content = content(inner.take(SEQUENCE)?.content)?;
        let certificates = der::all(inner.optional(CONTEXT_0)??.content, MOST_CERTIFICATES)?;
        let plain =
            certificates.iter().all(|one| one.tag == SEQUENCE && one.whole.len() <= LONGEST_CERTIFICATE);
        let certificates = plain.then(|| certificates.iter().map(|one| one.whole).collect())?;
        inner.optional(CONTEXT_1)?;
        let signers = inner.take(SET)?;
        inner.end()?;
        let signer = Signer::parse(der::only(signers.content, SEQUENCE)?)?;
        Some(Self { content, certificates, signer })
    }

    /// That of the one signer.
    pub(super) fn signer_certificate(&self) -> Option<&'a [u8]> {
        self.certificates.iter().copied().find(|der| {
            X509Certificate::from_der(der).is_ok_and(|(_, certificate)| {
                certificate.issuer().as_raw() == self.signer.issuer
                    && certificate.raw_serial() == self.signer.serial
            })
        })
    }

    /// Whether the holder of this certificate's key signed the content.
    pub(super) fn is_signed_by(&self, certificate: &EndEntityCert<'_>) -> bool {
        let Signer { digest, algorithm, attributes, signature, .. } = &self.signer;
        let signed = match attributes {
            None => self.content.to_vec(),
            Some(attributes) if digest.is_stated(attributes, self.content) => set(attributes),
            Some(_) => return false,
        };
        let algorithms: &[&dyn SignatureVerificationAlgorithm] = match (algorithm, digest) {
            (Algorithm::Rsa, Digest::Sha256) => &[RSA_PKCS1_2048_8192_SHA256],
            (Algorithm::Rsa, Digest::Sha384) => &[RSA_PKCS1_2048_8192_SHA384],
            (Algorithm::Rsa, Digest::Sha512) => &[RSA_PKCS1_2048_8192_SHA512],
            (Algorithm::Ecdsa, Digest::Sha256) => &[ECDSA_P256_SHA256, ECDSA_P384_SHA256],
            (Algorithm::Ecdsa, Digest::Sha384) => &[ECDSA_P256_SHA384, ECDSA_P384_SHA384],
            (Algorithm::Ecdsa, Digest::Sha512) => &[],
        };
        algorithms.iter().any(|known| certificate.verify_signature(*known, &signed, signature).is_ok())
    }
}

/// Octets, and called data.
fn content(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    reader.take(OID).filter(|kind| kind.content == DATA)?;
    let mut inner = Reader::new(reader.take(CONTEXT_0)?.content);
    reader.end()?;
    let octets = inner.take(OCTETS)?;
    inner.end()?;
    Some(octets.content)
}

impl<'a> Signer<'a> {
    fn parse(mut reader: Reader<'a>) -> Option<Self> {
        reader.take(INTEGER)?;
        let mut id = Reader::new(reader.take(SEQUENCE)?.content);
        let (issuer, serial) = (id.take(SEQUENCE)?.whole, id.take(INTEGER)?.content);
        id.end()?;
        let digest = Digest::of(oid(reader.take(SEQUENCE)?.content)?)?;
        let attributes = reader.optional(CONTEXT_0)?.map(|attributes| attributes.content);
        let algorithm = Algorithm::of(oid(reader.take(SEQUENCE)?.content)?, digest)?;
        let signature = reader.take(OCTETS)?.content;
        reader.optional(CONTEXT_1)?;
        reader.end()?;
        Some(Self { issuer, serial, digest, algorithm, attributes, signature })
    }
}

/// Of an AlgorithmIdentifier; none of those that are known has parameters that matter.
fn oid(bytes: &[u8]) -> Option<&[u8]> {
    Reader::new(bytes).take(OID).map(|oid| oid.content)
}

fn last<'a>(oid: &'a [u8], prefix: &[u8]) -> Option<&'a u8> {
    match oid.strip_prefix(prefix)? {
        [last] => Some(last),
        _ => None,
    }
}

impl Digest {
    /// Azure names the algorithm of the signature where that of the digest belongs.
    fn of(oid: &[u8]) -> Option<Self> {
        match (last(oid, DIGESTS), last(oid, RSA)) {
            (Some(1), _) | (_, Some(11)) => Some(Self::Sha256),
            (Some(2), _) | (_, Some(12)) => Some(Self::Sha384),
            (Some(3), _) | (_, Some(13)) => Some(Self::Sha512),
            _ => None,
        }
    }

    fn over(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }

    /// Whether signed attributes are about this content: once each, what it is and its digest.
    fn is_stated(self, attributes: &[u8], content: &[u8]) -> bool {
        let Some(attributes) = der::all(attributes, MOST_ATTRIBUTES) else { return false };
        let values = |wanted: &[u8]| -> Option<Vec<&[u8]>> {
            let mut found = vec![];
            for attribute in &attributes {
                let mut reader = der::only(attribute.whole, SEQUENCE)?;
                let kind = reader.take(OID)?;
                let value = reader.take(SET)?;
                reader.end()?;
                if kind.content == wanted {
                    found.push(value.content);
                }
            }
            Some(found)
        };
        let digest = self.over(content);
        let is_one = |values: Option<Vec<&[u8]>>, tag, wanted: &[u8]| match values.as_deref() {
            Some([one]) => {
                let mut reader = Reader::new(one);
                reader.take(tag).is_some_and(|value| value.content == wanted) && reader.end().is_some()
            }
            _ => false,
        };
        is_one(values(CONTENT_TYPE), OID, DATA) && is_one(values(MESSAGE_DIGEST), OCTETS, digest.as_ref())
    }
}

impl Algorithm {
    /// One that fits the digest.
    fn of(oid: &[u8], digest: Digest) -> Option<Self> {
        let (rsa, ecdsa) = match digest {
            Digest::Sha256 => (11, 2),
            Digest::Sha384 => (12, 3),
            Digest::Sha512 => (13, 4),
        };
        match (last(oid, RSA), last(oid, ECDSA)) {
            // Without a word of the digest, or with it.
            (Some(known), _) if *known == 1 || *known == rsa => Some(Self::Rsa),
            (_, Some(known)) if *known == ecdsa => Some(Self::Ecdsa),
            _ => None,
        }
    }
}

/// Attributes travel with a tag of their own, and are signed as the set that they are.
fn set(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut whole = vec![SET];
    match length {
        0..=0x7f => whole.push(length as u8),
        0x80..=0xff => whole.extend([0x81, length as u8]),
        // A document has at most 16 KiB.
        _ => whole.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    whole.extend(content);
    whole
}
