//! From the signer of a document to an authority: one of those under which Azure's own certificates are issued, or one that
//! an administrator gave.

use super::der::{self, OID, Reader, SEQUENCE};
use super::{Cloud, LONGEST_CERTIFICATE, MOST_CERTIFICATES};
use identity::pem;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::sync::LazyLock;
use std::time::Duration;
use webpki::aws_lc_rs::{
    ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// `authorityInfoAccess`, and `caIssuers` in it (RFC 5280, section 4.2.2.1), encoded.
const ACCESS: &str = "1.3.6.1.5.5.7.1.1";
const ISSUERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
/// uniformResourceIdentifier.
const URI: u8 = 0x86;
const LONGEST_URL: usize = 512;

/// Those that Microsoft names for Azure ("Azure Certificate Authority details"). None of the others that a system trusts issues
/// for it, and each of them could.
const ROOTS: [&str; 5] = [
    include_str!("roots/digicert-global-root-ca.pem"),
    include_str!("roots/digicert-global-root-g2.pem"),
    include_str!("roots/digicert-global-root-g3.pem"),
    include_str!("roots/microsoft-ecc-root-2017.pem"),
    include_str!("roots/microsoft-rsa-root-2017.pem"),
];

static KNOWN: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let known = ROOTS.iter().map(|text| authorities(text).expect("they are certificates"));
    known.flatten().map(CertificateDer::from).collect()
});

/// The authorities (DER) in a PEM text, at least one.
pub fn authorities(text: &str) -> Option<Vec<Vec<u8>>> {
    let blocks = pem::blocks(text).ok()?;
    let ders: Vec<Vec<u8>> = blocks
        .iter()
        .map(|block| {
            (block.label == pem::CERTIFICATE && is_authority(&block.der)).then(|| block.der.to_vec())
        })
        .collect::<Option<_>>()?;
    (!ders.is_empty()).then_some(ders)
}

fn is_authority(der: &[u8]) -> bool {
    let anchor =
        der.len() <= LONGEST_CERTIFICATE && anchor_from_trusted_cert(&CertificateDer::from(der)).is_ok();
    anchor && X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
}

/// Whether `certificate` leads to an authority, by way of `others` at most, and is good now.
pub(super) fn leads_to_authority(
    certificate: &EndEntityCert<'_>,
    others: &[&[u8]],
    more: &[Vec<u8>],
    now: Timestamp,
) -> Result<(), webpki::Error> {
    let more: Vec<CertificateDer<'_>> = more.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> =
        KNOWN.iter().chain(&more).filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
    let others: Vec<CertificateDer<'_>> =
        others.iter().take(2 * MOST_CERTIFICATES).map(|der| CertificateDer::from(*der)).collect();
    let algorithms = [
        RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512,
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        ECDSA_P384_SHA256,
        ECDSA_P384_SHA384,
    ];
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let usage = KeyUsage::server_auth();
    certificate.verify_for_usage(&algorithms, &anchors, &others, now, usage, None, None).map(|_| ())
}

/// The cloud whose metadata service a certificate is for.
pub(super) fn cloud(certificate: &EndEntityCert<'_>) -> Option<&'static Cloud> {
    certificate.valid_dns_names().find_map(|name| {
        let name = name.to_ascii_lowercase();
        Cloud::ALL.iter().find(|cloud| {
            let before = name.strip_suffix(cloud.metadata);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    })
}

/// Where the certificate of a certificate's issuer is to be had; none where it is its own.
pub fn issuer_url(certificate: &[u8]) -> Option<String> {
    if certificate.len() > LONGEST_CERTIFICATE {
        return None;
    }
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    if certificate.issuer().as_raw() == certificate.subject().as_raw() {
        return None;
    }
    let access = certificate.extensions().iter().find(|one| one.oid.to_id_string() == ACCESS)?;
    let ways = der::only(access.value, SEQUENCE)?;
    let url = ways.rest().find_map(|way| {
        let mut way = Reader::new(way.content);
        let kind = way.take(OID)?;
        let place = way.take(URI)?;
        (kind.content == ISSUERS).then_some(place.content)
    })?;
    let plain =
        url.len() <= LONGEST_URL && url.iter().all(u8::is_ascii_graphic) && url.starts_with(b"http://");
    plain.then(|| String::from_utf8(url.to_vec()).ok())?
}
