//! SPIFFE verifiable identity documents: what one must look like, and whom others have to trust to believe one
//! (X.509-SVID, JWT-SVID, SPIFFE Trust Domain and Bundle).
//!
//! They are about workloads, not about members of the cluster: their authority is in no [`crate::TrustBundle`], and they
//! carry no [`crate::Identity`].

use crate::Refusal;
use crate::key::PublicKey;
use crate::trust::{MAX_KEYS, TrustError};
use crate::verify::validity;
use crate::x509::parsed::{self, Parsed};
use access::ClusterName;
use access::SpiffeId;
use access::resource::cert_authority::CaKind;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What those who fetch a bundle are asked to wait between two times, in seconds.
const REFRESH_HINT: u32 = 300;
/// The longest chain; ours has one certificate.
const MAX_CHAIN: usize = 8;

/// Whom to trust for the workloads of one cluster: the bundle of its trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadTrust {
    /// The trust domain.
    pub cluster: ClusterName,
    /// Sign X.509-SVIDs; every one is trusted.
    pub x509: Vec<CertificateDer<'static>>,
    /// Sign JWT-SVIDs; every one is trusted.
    pub jwt: Vec<JwtKey>,
    /// The store's revision; a larger one is newer.
    pub revision: i64,
}

/// A key for JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    id: String,
    key: PublicKey,
}

impl JwtKey {
    /// Its name follows from it (RFC 7638).
    pub fn new(key: PublicKey) -> Self {
        let [x, y] = coordinates(&key);
        // Members in this order and without white space, as RFC 7638 (section 3) wants them.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        Self { id, key }
    }

    /// `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    fn jwk(&self, purpose: &str) -> Value {
        let [x, y] = coordinates(&self.key);
        json!({"use": purpose, "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.id})
    }
}

fn coordinates(key: &PublicKey) -> [String; 2] {
    let (x, y) = key.point()[1..].split_at(32);
    [x, y].map(|half| URL_SAFE_NO_PAD.encode(half))
}

impl WorkloadTrust {
    /// Checks that each certificate can be an authority's, and that there are not too many.
    pub fn check(&self) -> Result<(), TrustError> {
        let kind = CaKind::Spiffe.as_str();
        if self.x509.len() > MAX_KEYS || self.jwt.len() > MAX_KEYS {
            return Err(TrustError::TooMany { kind });
        }
        self.x509.iter().try_for_each(|certificate| {
            let parsed = parsed::authority(certificate);
            let wrong = |refusal: Refusal| TrustError::Certificate { kind, reason: refusal.to_string() };
            parsed.map(drop).map_err(wrong)
        })
    }

    /// As a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4).
    pub fn bundle(&self) -> Value {
        let x509 = self.x509.iter().filter_map(|certificate| {
            let key = parsed::anchor(certificate).ok()?.key;
            let [x, y] = coordinates(&key);
            let x5c = [STANDARD.encode(certificate)];
            Some(json!({"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": x, "y": y, "x5c": x5c}))
        });
        let keys: Vec<Value> = x509.chain(self.jwt.iter().map(|key| key.jwk("jwt-svid"))).collect();
        json!({"keys": keys, "spiffe_sequence": self.revision, "spiffe_refresh_hint": REFRESH_HINT})
    }

    /// The keys for JWT-SVIDs alone (RFC 7517), as the Workload API gives them.
    pub fn jwt_bundle(&self) -> Value {
        json!({"keys": self.jwt.iter().map(|key| key.jwk("jwt-svid")).collect::<Vec<_>>()})
    }

    /// The same for those who verify ID tokens.
    pub fn jwks(&self) -> Value {
        let key = |key: &JwtKey| {
            let mut jwk = key.jwk("sig");
            jwk["alg"] = "ES256".into();
            jwk
        };
        json!({"keys": self.jwt.iter().map(key).collect::<Vec<_>>()})
    }

    /// The certificates in PEM.
    pub fn x509_pem(&self) -> String {
        self.x509.iter().map(|der| crate::pem::certificate(der)).collect()
    }
}

/// What an X.509-SVID says. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509Svid {
    id: SpiffeId,
    key: PublicKey,
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    serial: u64,
    valid_before: Timestamp,
}

impl X509Svid {
    /// Who it is about.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The key that it certifies.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// DNS names beside the ID.
    pub fn dns(&self) -> &BTreeSet<String> {
        &self.dns
    }

    /// Addresses beside the ID.
    pub fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    /// Its serial number.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Not valid from then on.
    pub fn valid_before(&self) -> Timestamp {
        self.valid_before
    }
}

/// Accepts an X.509-SVID of this trust domain: signed by one of its authorities, in force, and of the shape that X.509-SVID
/// (sections 3 to 5) demands of a leaf.
pub fn verify(
    chain: &[CertificateDer<'_>],
    trust: &WorkloadTrust,
    now: Timestamp,
) -> Result<X509Svid, Refusal> {
    let leaf = match chain {
        [leaf, ..] if chain.len() <= MAX_CHAIN => Parsed::parse(leaf)?,
        _ => return Err(Refusal::Malformed("the length of the chain")),
    };
    let second = now.as_second();
    let signs = |authority: &Parsed<'_>| {
        leaf.issuer == authority.subject
            && (authority.not_before..=authority.not_after).contains(&second)
            && authority.key != leaf.key
            && authority.key.verify(&leaf.signed, &leaf.signature)
    };
    let mut authorities = trust.x509.iter().filter_map(|certificate| parsed::anchor(certificate).ok());
    if !authorities.any(|authority| signs(&authority)) {
        let authority = CaKind::Spiffe.as_str();
        return Err(Refusal::UntrustedCa { authority, signer: "somebody else".to_owned() });
    }
    let seconds = |value: i64| u64::try_from(value).map_err(|_| Refusal::BadValidity);
    // `notAfter` is inclusive; one second later it is over.
    let end = seconds(leaf.not_after)?.saturating_add(1);
    let valid_before = validity::check(now, seconds(leaf.not_before)?, end)?;
    let id = shape(&leaf)?;
    if id.domain != trust.cluster {
        return Err(Refusal::Malformed("a SPIFFE ID of another trust domain"));
    }
    let serial = leaf.serial.ok_or(Refusal::Malformed("serial"))?;
    let Parsed { key, names, .. } = leaf;
    Ok(X509Svid { id, key, dns: names.dns, addresses: names.addresses, serial, valid_before })
}

/// When a certificate ends that was verified before.
pub fn valid_before(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let parsed = Parsed::parse(certificate).ok()?;
    Timestamp::from_second(parsed.not_after.checked_add(1)?).ok()
}

/// When a JWT-SVID ends, by its own word: for those who wrote it down themselves.
pub fn jwt_expires(token: &str) -> Option<Timestamp> {
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

fn shape(leaf: &Parsed<'_>) -> Result<SpiffeId, Refusal> {
    if leaf.is_authority || leaf.signs_certificates || leaf.signs_crls {
        return Err(Refusal::Malformed("it is an authority's"));
    }
    if !leaf.signs || !leaf.client || !leaf.server {
        return Err(Refusal::Malformed("its key is not for this use"));
    }
    if leaf.extension.is_some() {
        return Err(Refusal::Malformed("it carries the identity of a member"));
    }
    match leaf.names.uris.as_slice() {
        [uri] => uri.parse().map_err(|_| Refusal::Malformed("its SPIFFE ID")),
        _ => Err(Refusal::Malformed("the number of its SPIFFE IDs")),
    }
}

#[cfg(test)]
mod tests {
    use super::{JwtKey, coordinates};
    use crate::key::PublicKey;
    use aws_lc_rs::digest;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let key = crate::key::SubjectKey::generate(&aws_lc_rs::rand::SystemRandom::new()).expect("a key");
        let public: PublicKey = key.public().clone();
        let named = JwtKey::new(public.clone());
        let [x, y] = coordinates(&public);
        assert_eq!((x.len(), y.len()), (43, 43));
        let members = serde_json::json!({"crv": "P-256", "kty": "EC", "x": x, "y": y}).to_string();
        let expected = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()));
        assert_eq!(named.id(), expected);
        assert_eq!(named.jwk("sig")["kid"], expected);
    }
}
