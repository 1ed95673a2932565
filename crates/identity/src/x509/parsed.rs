//! An X.509 certificate taken apart, before anything about it is believed. Only what our own authorities put
//! into certificates is understood; any other critical extension is a refusal (RFC 5280, section 4.2).

use crate::Refusal;
use crate::key::PublicKey;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, SubjectAlternativeName, X509Extension,
};
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::{
    OID_SIG_ECDSA_WITH_SHA256, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::FromDer;

/// The longest certificate that is read.
pub(crate) const MAX_LENGTH: usize = 64 * 1024;
/// The most extensions that are looked at; ours have seven at most.
const MAX_EXTENSIONS: usize = 32;

/// The parts of a certificate. Nothing is verified.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    /// What was signed.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// Of at most eight bytes, as our authorities draw them.
    pub(crate) serial: Option<u64>,
    /// DER of the names.
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    /// The subject's first organization: the cluster, in an authority's certificate.
    pub(crate) organization: Option<String>,
    /// Seconds since the epoch.
    pub(crate) not_before: i64,
    /// Seconds since the epoch, inclusive as RFC 5280 has it.
    pub(crate) not_after: i64,
    pub(crate) key: PublicKey,
    pub(crate) is_authority: bool,
    pub(crate) signs_certificates: bool,
    pub(crate) signs_crls: bool,
    pub(crate) signs: bool,
    pub(crate) client: bool,
    pub(crate) server: bool,
    pub(crate) names: Names,
    /// The private extension.
    pub(crate) extension: Option<&'a [u8]>,
}

/// Subject alternative names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) uris: Vec<String>,
    pub(crate) dns: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl<'a> Parsed<'a> {
    pub(crate) fn parse(certificate: &'a CertificateDer<'_>) -> Result<Self, Refusal> {
        let der = certificate.as_ref();
        if der.len() > MAX_LENGTH {
            return Err(Refusal::TooLarge { length: der.len(), limit: MAX_LENGTH });
        }
        let (rest, x509) = X509CertificateParser::new()
            .with_deep_parse_extensions(false)
            .parse(der)
            .map_err(|_| Refusal::Malformed("X.509"))?;
        if !rest.is_empty() {
            return Err(Refusal::Malformed("bytes after the certificate"));
        }
        let tbs = &x509.tbs_certificate;
        for algorithm in [&tbs.signature, &x509.signature_algorithm] {
            if algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 || algorithm.parameters.is_some() {
                return Err(Refusal::AlgorithmNotAllowed(algorithm.algorithm.to_id_string()));
            }
        }
        if der != envelope(tbs.as_ref(), &x509.signature_value.data) {
            return Err(Refusal::Malformed("its outer encoding"));
        }
        let key = PublicKey::from_spki_der(tbs.subject_pki.raw);
        let organization = tbs.subject.iter_organization().next().and_then(|value| value.as_str().ok());
        let mut parsed = Self {
            signed: tbs.as_ref().to_vec(),
            signature: x509.signature_value.data.to_vec(),
            serial: u64::try_from(&tbs.serial).ok(),
            issuer: tbs.issuer.as_raw().to_vec(),
            subject: tbs.subject.as_raw().to_vec(),
            organization: organization.map(str::to_owned),
            not_before: tbs.validity.not_before.timestamp(),
            not_after: tbs.validity.not_after.timestamp(),
            key: key.map_err(|_| Refusal::BadKey("only P-256 keys are used"))?,
            is_authority: false,
            signs_certificates: false,
            signs_crls: false,
            signs: false,
            client: false,
            server: false,
            names: Names::default(),
            extension: None,
        };
        parsed.read_extensions(tbs.extensions())?;
        Ok(parsed)
    }

    fn read_extensions(&mut self, extensions: &[X509Extension<'a>]) -> Result<(), Refusal> {
        if extensions.len() > MAX_EXTENSIONS {
            return Err(Refusal::Malformed("too many extensions"));
        }
        for (place, extension) in extensions.iter().enumerate() {
            if extensions[..place].iter().any(|earlier| earlier.oid == extension.oid) {
                return Err(Refusal::Malformed("an extension twice"));
            }
            self.read_extension(extension)?;
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &X509Extension<'a>) -> Result<(), Refusal> {
        let oid = &extension.oid;
        if *oid == OID_X509_EXT_BASIC_CONSTRAINTS {
            self.is_authority = whole::<BasicConstraints>(extension.value)?.ca;
        } else if *oid == OID_X509_EXT_KEY_USAGE {
            let usage = whole::<KeyUsage>(extension.value)?;
            self.signs = usage.digital_signature();
            self.signs_certificates = usage.key_cert_sign();
            self.signs_crls = usage.crl_sign();
        } else if *oid == OID_X509_EXT_EXTENDED_KEY_USAGE {
            let usage = whole::<ExtendedKeyUsage<'_>>(extension.value)?;
            self.client = usage.client_auth;
            self.server = usage.server_auth;
        } else if *oid == OID_X509_EXT_SUBJECT_ALT_NAME {
            self.names = Names::read(extension.value)?;
        } else if *oid == private_oid() {
            self.extension = Some(extension.value);
        } else if extension.critical {
            return Err(Refusal::UnknownCriticalOption(oid.to_id_string()));
        }
        Ok(())
    }
}

impl Names {
    fn read(value: &[u8]) -> Result<Self, Refusal> {
        let list = whole::<SubjectAlternativeName<'_>>(value)?;
        let mut names = Self::default();
        for name in list.general_names {
            let fresh = match name {
                GeneralName::URI(uri) => {
                    names.uris.push(uri.to_owned());
                    true
                }
                GeneralName::DNSName(name) => names.dns.insert(name.to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.insert(address(bytes)?),
                _ => return Err(Refusal::Malformed("an alternative name of an unknown kind")),
            };
            if !fresh {
                return Err(Refusal::Malformed("an alternative name twice"));
            }
        }
        Ok(names)
    }
}

/// The certificate as an authority's: P-256, says that it is one, signed by itself.
pub(crate) fn authority<'a>(certificate: &'a CertificateDer<'_>) -> Result<Parsed<'a>, Refusal> {
    let parsed = anchor(certificate)?;
    match parsed.key.verify(&parsed.signed, &parsed.signature) {
        true => Ok(parsed),
        false => Err(Refusal::BadSignature),
    }
}

/// The same of one that is trusted already, byte for byte: what it says of itself needs no proof, and its signature costs
/// as much to verify as the one that is asked about.
pub(crate) fn anchor<'a>(certificate: &'a CertificateDer<'_>) -> Result<Parsed<'a>, Refusal> {
    let parsed = Parsed::parse(certificate)?;
    if !parsed.is_authority || !parsed.signs_certificates {
        return Err(Refusal::Malformed("it is no authority's"));
    }
    match parsed.subject == parsed.issuer {
        true => Ok(parsed),
        false => Err(Refusal::BadSignature),
    }
}

/// The DER SubjectPublicKeyInfo of a certificate of any kind of key, for pins.
pub(crate) fn spki(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, Refusal> {
    if certificate.len() > MAX_LENGTH {
        return Err(Refusal::TooLarge { length: certificate.len(), limit: MAX_LENGTH });
    }
    let (_, x509) = X509CertificateParser::new()
        .with_deep_parse_extensions(false)
        .parse(certificate)
        .map_err(|_| Refusal::Malformed("X.509"))?;
    Ok(x509.tbs_certificate.subject_pki.raw.to_vec())
}

/// The one encoding of what is around the signed part. The parser accepts others, and whatever is not signed
/// could be changed by anybody.
fn envelope(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    /// `AlgorithmIdentifier` of ecdsa-with-SHA256 (RFC 5758, section 3.2).
    const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let bits = [header(0x03, signature.len() + 1), vec![0], signature.to_vec()].concat();
    let length = signed.len() + ALGORITHM.len() + bits.len();
    [&header(0x30, length)[..], signed, &ALGORITHM, &bits].concat()
}

/// Tag and shortest length.
fn header(tag: u8, length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let short = &bytes[start..];
    match (length, u8::try_from(short.len())) {
        (0..=0x7f, _) | (_, Err(_)) => vec![tag, bytes[bytes.len() - 1]],
        (_, Ok(count)) => [&[tag, 0x80 | count], short].concat(),
    }
}

fn private_oid() -> Oid<'static> {
    Oid::from(super::EXTENSION_OID).expect("a constant, checked by a test")
}

/// Decodes an extension that ends where its value ends.
fn whole<'a, T: FromDer<'a, x509_parser::error::X509Error>>(value: &'a [u8]) -> Result<T, Refusal> {
    match T::from_der(value) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Refusal::Malformed("an extension")),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Refusal> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| Refusal::Malformed("an address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let certificate = CertificateDer::from(bytes);
            let _ = Parsed::parse(&certificate);
            let _ = spki(&certificate);
        }
    }

    #[test]
    fn the_private_extension_has_an_identifier() {
        assert_eq!(
            private_oid().to_id_string(),
            "1.2.840.113556.1.8000.2554.26330.20888.13798.18474.40637.8038829.12460798"
        );
    }

    #[test]
    fn size_comes_first() {
        let large = CertificateDer::from(vec![0x30; MAX_LENGTH + 1]);
        assert_eq!(Parsed::parse(&large).expect_err("refused").code(), "too_large");
    }
}
