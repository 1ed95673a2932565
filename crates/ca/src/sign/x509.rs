//! X.509 certificates, signed with ECDSA P-256.

use crate::decide::{IssueError, Validity};
use crate::keys::TlsKeys;
use access::rbac::spiffe::SvidPermit;
use access::resource::cert_authority::CaKind;
use access::{ClusterName, SpiffeId, spiffe};
use identity::key::PublicKey;
use identity::x509::{Claims, EXTENSION_OID};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

/// An authority's own certificate lives ten years; what it may sign is bounded by rotation, not by this.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// What goes into one certificate beside its signature.
pub(crate) struct Contents<'a> {
    pub kind: CaKind,
    pub cluster: &'a ClusterName,
    pub claims: &'a Claims,
    pub public_key: &'a PublicKey,
    pub validity: Validity,
    pub serial: u64,
}

/// A leaf for a user or a host.
pub(crate) fn leaf(keys: &TlsKeys, contents: &Contents<'_>) -> Result<CertificateDer<'static>, IssueError> {
    let failed = |error: rcgen::Error| IssueError::Signing(error.to_string());
    let Claims { uri, dns, addresses, common_name, extension } = contents.claims;
    let mut params = CertificateParams::default();
    params.not_before = time(contents.validity.after)?;
    // RFC 5280 counts the last second in.
    params.not_after = time(contents.validity.before)? - time::Duration::SECOND;
    params.serial_number = Some(SerialNumber::from(contents.serial));
    params.distinguished_name = name(contents.cluster, common_name);
    // During a rotation two authorities have one name; this tells other software which of them signed.
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match contents.kind {
        CaKind::Host => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        _ => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().map_err(failed)?));
    for name in dns {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
    }
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.custom_extensions.push(CustomExtension::from_oid_content(EXTENSION_OID, extension.clone()));
    let issuer = Issuer::new(authority_params(contents.kind, contents.cluster)?, &keys.key);
    let certificate = params.signed_by(&Subject(contents.public_key), &issuer).map_err(failed)?;
    Ok(certificate.der().clone())
}

/// What goes into one X.509-SVID beside its signature.
pub(crate) struct SvidContents<'a> {
    pub id: &'a SpiffeId,
    pub permit: &'a SvidPermit,
    pub public_key: &'a PublicKey,
    pub validity: Validity,
    pub serial: u64,
}

/// A leaf for a workload (X.509-SVID, sections 3 and 4).
pub(crate) fn svid(
    keys: &TlsKeys,
    contents: &SvidContents<'_>,
) -> Result<CertificateDer<'static>, IssueError> {
    let failed = |error: rcgen::Error| IssueError::Signing(error.to_string());
    let SvidContents { id, permit, public_key, validity, serial } = contents;
    let mut params = CertificateParams::default();
    params.not_before = time(validity.after)?;
    params.not_after = time(validity.before)? - time::Duration::SECOND;
    params.serial_number = Some(SerialNumber::from(*serial));
    params.distinguished_name = name(&id.domain, id.path.as_str());
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names.push(SanType::URI(id.to_string().as_str().try_into().map_err(failed)?));
    for name in permit.dns() {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
    }
    params.subject_alt_names.extend(permit.addresses().iter().map(|address| SanType::IpAddress(*address)));
    let issuer = Issuer::new(authority_params(CaKind::Spiffe, &id.domain)?, &keys.key);
    let certificate = params.signed_by(&Subject(public_key), &issuer).map_err(failed)?;
    Ok(certificate.der().clone())
}

/// An authority's own certificate.
pub(crate) fn authority(
    kind: CaKind,
    cluster: &ClusterName,
    key: &KeyPair,
    now: Timestamp,
) -> Result<CertificateDer<'static>, IssueError> {
    let mut params = authority_params(kind, cluster)?;
    let wrong = |_| IssueError::Signing("the time is out of range".into());
    params.not_before = time(now.checked_sub(crate::decide::BACKDATE).map_err(wrong)?)?;
    params.not_after = time(now.checked_add(AUTHORITY_LIFETIME).map_err(wrong)?)?;
    let certificate = params.self_signed(key).map_err(|error| IssueError::Signing(error.to_string()))?;
    Ok(certificate.der().clone())
}

fn authority_params(kind: CaKind, cluster: &ClusterName) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(cluster, &format!("{cluster} {} authority", kind.as_str()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    if kind == CaKind::Spiffe {
        // The trust domain's own name, and nothing but signing certificates (X.509-SVID, sections 2 and 4.3).
        let domain = spiffe::trust_domain_id(cluster);
        let domain = domain.as_str().try_into();
        let failed = |error: rcgen::Error| IssueError::Signing(error.to_string());
        params.subject_alt_names.push(SanType::URI(domain.map_err(failed)?));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    Ok(params)
}

fn name(cluster: &ClusterName, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster.as_str());
    // RFC 5280 allows 64 characters; what it says is for people, so the rest may go.
    name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    name
}

fn time(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second())
        .map_err(|error| IssueError::Signing(error.to_string()))
}

/// A subject's key as rcgen takes it.
struct Subject<'a>(&'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
