//! X.509 certificates, with rcgen.

use super::NOW;
use identity::Identity;
use identity::key::SubjectKey;
use identity::x509::{Claims, EXTENSION_OID};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use std::time::Duration;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(cluster: &str, kind: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, cluster);
        params.distinguished_name.push(DnType::CommonName, format!("{cluster} {kind}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        within(&mut params, NOW - 3600, NOW + 1_000_000);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn point(&self) -> Point {
        Point(self.issuer.key().public_key_raw().to_vec())
    }

    pub fn sign(&self, leaf: &Leaf) -> CertificateDer<'static> {
        leaf.params.signed_by(&leaf.key, &self.issuer).expect("a certificate").der().clone()
    }
}

/// A P-256 public key.
pub struct Point(pub Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A leaf, free to be wrong.
pub struct Leaf {
    pub params: CertificateParams,
    pub key: Point,
}

impl Leaf {
    /// A right one, for an hour.
    pub fn of(identity: &Identity, key: &SubjectKey) -> Self {
        let claims = Claims::of(identity);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, claims.common_name);
        params.serial_number = Some(99u64.into());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names.push(SanType::URI(claims.uri.try_into().expect("ASCII")));
        let dns = claims.dns.into_iter().map(|name| SanType::DnsName(name.try_into().expect("ASCII")));
        params.subject_alt_names.extend(dns);
        params.subject_alt_names.extend(claims.addresses.into_iter().map(SanType::IpAddress));
        params.custom_extensions.push(CustomExtension::from_oid_content(EXTENSION_OID, claims.extension));
        within(&mut params, NOW - 60, NOW + 3599);
        Self { params, key: Point(key.public().point().to_vec()) }
    }

    pub fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }
}

pub fn within(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    let at = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).expect("after 1970"))
    };
    params.not_before = at(not_before);
    params.not_after = at(not_after);
}

/// An issuer whose certificate is a leaf: nobody should accept what it signs.
pub fn sign_with_leaf(
    leaf_params: &CertificateParams,
    key: &KeyPair,
    victim: &Leaf,
) -> CertificateDer<'static> {
    let issuer = Issuer::from_params(leaf_params, key);
    victim.params.signed_by(&victim.key, &issuer).expect("a certificate").der().clone()
}
