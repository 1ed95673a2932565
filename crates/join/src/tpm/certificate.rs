//! Endorsement certificates (TCG EK Credential Profile): the maker of a TPM vouches for its endorsement key.

use super::LONGEST_CERTIFICATE;
use super::public::EndorsementKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use jiff::Timestamp;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME,
};
use x509_parser::prelude::FromDer;

/// Dotted names of what is looked for.
const PURPOSE: &str = "2.23.133.8.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
const SHA384_WITH_RSA: &str = "1.2.840.113549.1.1.12";
const SHA512_WITH_RSA: &str = "1.2.840.113549.1.1.13";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_WITH_SHA384: &str = "1.2.840.10045.4.3.3";

const MOST_EXTENSIONS: usize = 32;

/// Why a certificate says nothing of an endorsement key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// None was shown.
    #[error("the TPM has shown none")]
    Missing,
    /// Not one certificate and nothing else.
    #[error("it is no X.509 certificate")]
    Malformed,
    /// It is about another key.
    #[error("it is about another key than the endorsement key")]
    OtherKey,
    /// None of the authorities has issued it.
    #[error("it was issued by none of ekcert_allowed_cas; its issuer is {0}")]
    ForeignIssuer(String),
    /// Before or after its time, or its authority's.
    #[error("it is valid from {from} to {until}")]
    Validity {
        /// Seconds since 1970.
        from: Timestamp,
        /// The last moment.
        until: Timestamp,
    },
    /// It was issued for something else.
    #[error("it was not issued for an endorsement key (extended key usage 2.23.133.8.1)")]
    OtherPurpose,
    /// A critical extension that is not understood.
    #[error("it has the critical extension {0}, which is not known")]
    UnknownExtension(String),
}

/// An endorsement certificate that an authority of the token has issued. Only [`Self::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementCertificate {
    serial: String,
}

impl EndorsementCertificate {
    /// Whether `der` is about `key`, and issued by one of `authorities` (DER), each of which is trusted by itself.
    pub fn verify(
        der: &[u8],
        key: &EndorsementKey,
        authorities: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        if der.is_empty() {
            return Err(CertificateError::Missing);
        }
        let certificate = parse(der)?;
        valid(&certificate, now)?;
        purpose(&certificate)?;
        let issued = authorities.iter().any(|authority| is_issued_by(&certificate, authority, now));
        if !issued {
            let issuer = certificate.issuer().to_string().chars().take(200).collect();
            return Err(CertificateError::ForeignIssuer(issuer));
        }
        if &*certificate.tbs_certificate.subject_pki.subject_public_key.data != key.bits() {
            return Err(CertificateError::OtherKey);
        }
        Ok(Self { serial: serial_text(certificate.raw_serial()) })
    }

    /// The serial number as rules have it.
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

/// Pairs of hexadecimal digits with colons between them, without leading zeros.
pub fn serial_text(bytes: &[u8]) -> String {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let pairs: Vec<String> = bytes[start..].iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// The serial number of a certificate that nobody has verified, for showing.
pub(super) fn serial_of(der: &[u8]) -> Option<String> {
    parse(der).ok().map(|certificate| serial_text(certificate.raw_serial()))
}

/// Whether this is a certificate that can have issued others.
pub(super) fn is_authority(der: &[u8]) -> bool {
    parse(der).is_ok_and(|certificate| may_issue(&certificate))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > LONGEST_CERTIFICATE {
        return Err(CertificateError::Malformed);
    }
    let parsed = X509CertificateParser::new().with_deep_parse_extensions(false).parse(der);
    match parsed {
        Ok(([], certificate)) if certificate.extensions().len() <= MOST_EXTENSIONS => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

fn is_issued_by(certificate: &X509Certificate<'_>, authority: &[u8], now: Timestamp) -> bool {
    let Ok(authority) = parse(authority) else { return false };
    authority.subject().as_raw() == certificate.issuer().as_raw()
        && may_issue(&authority)
        && valid(&authority, now).is_ok()
        && is_signed_by(certificate, &authority)
}

fn may_issue(authority: &X509Certificate<'_>) -> bool {
    let constraints = extension::<BasicConstraints>(authority, OID_X509_EXT_BASIC_CONSTRAINTS.to_id_string());
    let usage = extension::<KeyUsage>(authority, OID_X509_EXT_KEY_USAGE.to_id_string());
    let may_sign = match usage {
        Found::Absent => true,
        Found::Read(usage) => usage.key_cert_sign(),
        Found::Wrong => false,
    };
    may_sign && matches!(constraints, Found::Read(constraints) if constraints.ca)
}

fn is_signed_by(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    // Both say how it is signed, and only one of the two is signed.
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return false;
    }
    let pki = &authority.tbs_certificate.subject_pki;
    let parameters = pki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    let kind = pki.algorithm.algorithm.to_id_string();
    let curve = parameters.map(|curve| curve.to_id_string()).unwrap_or_default();
    let signature = certificate.signature_algorithm.algorithm.to_id_string();
    let algorithm: &dyn VerificationAlgorithm = match (kind.as_str(), curve.as_str(), signature.as_str()) {
        (RSA, _, SHA256_WITH_RSA) => &RSA_PKCS1_2048_8192_SHA256,
        (RSA, _, SHA384_WITH_RSA) => &RSA_PKCS1_2048_8192_SHA384,
        (RSA, _, SHA512_WITH_RSA) => &RSA_PKCS1_2048_8192_SHA512,
        (EC, P256, ECDSA_WITH_SHA256) => &ECDSA_P256_SHA256_ASN1,
        (EC, P256, ECDSA_WITH_SHA384) => &ECDSA_P256_SHA384_ASN1,
        (EC, P384, ECDSA_WITH_SHA256) => &ECDSA_P384_SHA256_ASN1,
        (EC, P384, ECDSA_WITH_SHA384) => &ECDSA_P384_SHA384_ASN1,
        _ => return false,
    };
    let key = UnparsedPublicKey::new(algorithm, &*pki.subject_public_key.data);
    key.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data).is_ok()
}

fn valid(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if (from..=until).contains(&now.as_second()) {
        return Ok(());
    }
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    Err(CertificateError::Validity { from: time(from), until: time(until) })
}

/// It is for an endorsement key, and asks for nothing that is not understood.
fn purpose(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let usage =
        extension::<ExtendedKeyUsage<'_>>(certificate, OID_X509_EXT_EXTENDED_KEY_USAGE.to_id_string());
    let Found::Read(usage) = usage else { return Err(CertificateError::OtherPurpose) };
    if !usage.other.iter().any(|purpose| purpose.to_id_string() == PURPOSE) || may_issue(certificate) {
        return Err(CertificateError::OtherPurpose);
    }
    let known = [
        OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_CERTIFICATE_POLICIES,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
    ];
    let unknown = certificate.extensions().iter().find(|one| one.critical && !known.contains(&one.oid));
    match unknown {
        Some(unknown) => Err(CertificateError::UnknownExtension(unknown.oid.to_id_string())),
        None => Ok(()),
    }
}

enum Found<T> {
    Absent,
    Read(T),
    /// Twice, or with something behind it.
    Wrong,
}

fn extension<'a, T: FromDer<'a, x509_parser::error::X509Error>>(
    certificate: &X509Certificate<'a>,
    oid: String,
) -> Found<T> {
    let mut found = certificate.extensions().iter().filter(|one| one.oid.to_id_string() == oid);
    match (found.next(), found.next()) {
        (None, _) => Found::Absent,
        (Some(one), None) => match T::from_der(one.value) {
            Ok(([], read)) => Found::Read(read),
            _ => Found::Wrong,
        },
        _ => Found::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_CERTIFICATE, is_authority};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    /// The certificate of an authority whose name is so long.
    fn authority(name: usize) -> Vec<u8> {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "x".repeat(name));
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    #[test]
    fn no_certificate_is_read_that_is_longer_than_any() {
        // Subject and issuer are one.
        let longest = authority(LONGEST_CERTIFICATE / 2 - 400);
        assert!(longest.len() <= LONGEST_CERTIFICATE, "{}", longest.len());
        assert!(is_authority(&longest));
        let too_long = authority(LONGEST_CERTIFICATE / 2);
        assert!(!is_authority(&too_long), "{}", too_long.len());
    }
}
