//! X.509 certificates: a leaf, signed directly by a trusted authority of the right kind, that says in its
//! extension and in its names the same thing. There are no intermediates, and the proof of possession is TLS's.

use super::ssh::of_cluster;
use super::{source_address, validity};
use crate::key::PublicKey;
use crate::trust::{Pin, TrustBundle};
use crate::x509::claims::Claims;
use crate::x509::parsed::{self, Parsed};
use crate::{Identity, Refusal, Subject};
use access::SystemRole;
use access::resource::cert_authority::CaKind;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;

/// Leaf, and the authorities that a server sends along for those who have only a pin.
const MAX_CHAIN: usize = 17;

/// What a client's chain is measured by.
#[derive(Debug, Clone, Copy)]
pub struct ClientContext<'a> {
    /// Whose certificates count.
    pub trust: &'a TrustBundle,
    /// The time.
    pub now: Timestamp,
    /// Where it comes from; absent refuses every identity that is bound to an address.
    pub peer: Option<IpAddr>,
}

/// What a server's chain is measured by.
#[derive(Debug, Clone, Copy)]
pub struct ServerContext<'a> {
    /// The time.
    pub now: Timestamp,
    /// The DNS name or address that was asked for; the certificate must have it.
    pub name: &'a str,
    /// What the host must be, when only one kind will do.
    pub role: Option<SystemRole>,
}

/// An X.509 certificate that was accepted. Only this module makes one.
#[derive(Debug, Clone)]
pub struct VerifiedIdentity {
    identity: Identity,
    serial: u64,
    valid_before: Timestamp,
    key: PublicKey,
}

impl VerifiedIdentity {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From then on it is not valid.
    pub fn valid_before(&self) -> Timestamp {
        self.valid_before
    }

    /// Chosen by the authority; the SSH certificate issued together with this one has the same.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The certified key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// Verifies a client: a user or bot signed by the user authority, or a host signed by the host authority.
pub fn client(
    chain: &[CertificateDer<'_>],
    context: &ClientContext<'_>,
) -> Result<VerifiedIdentity, Refusal> {
    let leaf = Parsed::parse(leaf_of(chain)?)?;
    let kind = match signer(&leaf, context.trust, CaKind::User, context.now) {
        Ok(()) => CaKind::User,
        Err(as_user) => match signer(&leaf, context.trust, CaKind::Host, context.now) {
            Ok(()) => CaKind::Host,
            // Not believed, and only good for naming the authority that it would have needed.
            Err(as_host) => match Claims::read(&leaf) {
                Ok(claimed) if claimed.host().is_some() => return Err(as_host),
                _ => return Err(as_user),
            },
        },
    };
    let verified = accept(&leaf, kind, leaf.client, context.now)?;
    of_cluster(verified.identity.clone(), context.trust)?;
    let pinned = verified.identity.user().and_then(|user| user.pinned_ip);
    if let Some(address) = pinned {
        source_address::check(&source_address::single(address), context.peer)?;
    }
    Ok(verified)
}

/// Verifies a server of this cluster: a host signed by the host authority.
pub fn server(
    chain: &[CertificateDer<'_>],
    trust: &TrustBundle,
    context: &ServerContext<'_>,
) -> Result<VerifiedIdentity, Refusal> {
    let leaf = Parsed::parse(leaf_of(chain)?)?;
    signer(&leaf, trust, CaKind::Host, context.now)?;
    let verified = accept(&leaf, CaKind::Host, leaf.server, context.now)?;
    of_cluster(verified.identity.clone(), trust)?;
    check_server(&leaf, &verified, context)?;
    Ok(verified)
}

/// Verifies a server by pins alone, for those who have no trust bundle yet: the chain brings its authority,
/// and that authority's key is pinned.
pub fn server_by_pin(
    chain: &[CertificateDer<'_>],
    pins: &[Pin],
    context: &ServerContext<'_>,
) -> Result<VerifiedIdentity, Refusal> {
    let leaf = Parsed::parse(leaf_of(chain)?)?;
    let pinned = chain[1..].iter().filter(|certificate| pins.iter().any(|pin| pin.matches(certificate)));
    let authority = pinned
        .filter_map(|certificate| parsed::authority(certificate).ok())
        .find(|authority| signed(&leaf, authority, context.now))
        .ok_or(Refusal::PinMismatch)?;
    let verified = accept(&leaf, CaKind::Host, leaf.server, context.now)?;
    let cluster = authority.organization.unwrap_or_default();
    if cluster != verified.identity.cluster.as_str() {
        return Err(Refusal::WrongCluster { expected: cluster, got: verified.identity.cluster.to_string() });
    }
    check_server(&leaf, &verified, context)?;
    Ok(verified)
}

fn leaf_of<'a, 'b>(chain: &'a [CertificateDer<'b>]) -> Result<&'a CertificateDer<'b>, Refusal> {
    match chain {
        [leaf, ..] if chain.len() <= MAX_CHAIN => Ok(leaf),
        _ => Err(Refusal::Malformed("the length of the chain")),
    }
}

/// Some trusted authority of that kind signed the leaf.
fn signer(leaf: &Parsed<'_>, trust: &TrustBundle, kind: CaKind, now: Timestamp) -> Result<(), Refusal> {
    let authorities = trust.authority(kind).tls.iter();
    let mut authorities = authorities.filter_map(|certificate| parsed::anchor(certificate).ok());
    match authorities.any(|authority| signed(leaf, &authority, now) && authority.key != leaf.key) {
        true => Ok(()),
        false => Err(Refusal::UntrustedCa { authority: kind.as_str(), signer: "somebody else".to_owned() }),
    }
}

fn signed(leaf: &Parsed<'_>, authority: &Parsed<'_>, now: Timestamp) -> bool {
    let now = now.as_second();
    leaf.issuer == authority.subject
        && (authority.not_before..=authority.not_after).contains(&now)
        && authority.key.verify(&leaf.signed, &leaf.signature)
}

/// What is left once the signer is known: validity, use, and an identity that this authority may speak of.
fn accept(leaf: &Parsed<'_>, kind: CaKind, usage: bool, now: Timestamp) -> Result<VerifiedIdentity, Refusal> {
    let seconds = |value: i64| u64::try_from(value).map_err(|_| Refusal::BadValidity);
    // `notAfter` is inclusive; one second later it is over.
    let end = seconds(leaf.not_after)?.saturating_add(1);
    let valid_before = validity::check(now, seconds(leaf.not_before)?, end)?;
    if leaf.is_authority || leaf.signs_certificates {
        return Err(Refusal::Malformed("it is an authority's"));
    }
    if !leaf.signs || !usage {
        return Err(Refusal::Malformed("its key is not for this use"));
    }
    let identity = Claims::read(leaf)?;
    let (expected, got) = match (&identity.subject, kind) {
        (Subject::User(_), CaKind::User) | (Subject::Host(_), CaKind::Host) => ("", ""),
        (Subject::User(_), _) => ("host", "user"),
        (Subject::Host(_), _) => ("user", "host"),
    };
    if expected != got {
        return Err(Refusal::WrongCertType { expected, got });
    }
    let serial = leaf.serial.ok_or(Refusal::Malformed("serial"))?;
    Ok(VerifiedIdentity { identity, serial, valid_before, key: leaf.key.clone() })
}

fn check_server(
    leaf: &Parsed<'_>,
    verified: &VerifiedIdentity,
    context: &ServerContext<'_>,
) -> Result<(), Refusal> {
    let host = verified.identity.host().ok_or(Refusal::WrongCertType { expected: "host", got: "user" })?;
    if let Some(role) = context.role
        && role != host.role
    {
        return Err(Refusal::WrongRole { expected: role.as_str(), got: host.role.as_str() });
    }
    let wanted = context.name.to_ascii_lowercase();
    let named = match wanted.parse::<IpAddr>() {
        Ok(address) => leaf.names.addresses.contains(&source_address::canonical(address)),
        Err(_) => leaf.names.dns.contains(&wanted),
    };
    if named {
        return Ok(());
    }
    let dns = leaf.names.dns.iter().cloned();
    let got: Vec<String> = dns.chain(leaf.names.addresses.iter().map(IpAddr::to_string)).collect();
    Err(Refusal::WrongHost { expected: wanted, got: got.join(", ") })
}
