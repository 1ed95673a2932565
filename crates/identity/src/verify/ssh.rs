//! SSH certificates, user and host. The order of the checks is the contract: what is cheap and what is hostile
//! comes first, and nothing inside a certificate is read for its meaning before its signature has been checked.
//!
//! 1. size, algorithm, shape (flat, bounded)
//! 2. the signer is a plain key of an allowed type
//! 3. it is, in full, a trusted key of the wanted authority
//! 4. signature
//! 5. type
//! 6. validity
//! 7. somebody is named
//! 8. critical options
//! 9. source address
//! 10. the identity, its principals, its cluster
//!
//! What the SSH crate's own `validate_at` (0.7.0-rc.11) leaves out of this, and why nothing here relies on it: it
//! compares fingerprints of authorities, not keys; knows no type, so a host passes for a user; takes an empty list
//! of principals for valid, and leaves names to the caller; looks at no critical option; limits no lifetime; and
//! its parser follows certificates inside certificates until the stack ends.

use super::{source_address, validity};
use crate::ssh::certificate::{CertificateType, RawCertificate, option_value, shortened};
use crate::ssh::claims::{Claims, SOURCE_ADDRESS};
use crate::ssh::key_blob;
use crate::trust::{Authority, TrustBundle};
use crate::{HostIdentity, Identity, Refusal, UserIdentity};
use access::{Login, UserName};
use jiff::Timestamp;
use std::net::IpAddr;

/// What a user certificate is measured by.
#[derive(Debug, Clone, Copy)]
pub struct UserContext<'a> {
    /// Whose certificates count.
    pub trust: &'a TrustBundle,
    /// The time.
    pub now: Timestamp,
    /// Where it is used from; absent refuses every certificate that is bound to addresses.
    pub peer: Option<IpAddr>,
    /// The account wanted. Absent only where no session is opened, such as on a jump host.
    pub login: Option<&'a Login>,
}

/// What a host certificate is measured by.
#[derive(Debug, Clone, Copy)]
pub struct HostContext<'a> {
    /// Whose certificates count.
    pub trust: &'a TrustBundle,
    /// The time.
    pub now: Timestamp,
    /// The host is one of these: its name, address or id as it was asked for. None refuses.
    pub names: &'a [&'a str],
}

/// A user certificate that was accepted. Only [`user`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedUser {
    identity: Identity,
    user: UserIdentity,
    facts: Facts,
}

/// A host certificate that was accepted. Only [`host`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedHost {
    identity: Identity,
    host: HostIdentity,
    facts: Facts,
}

#[derive(Debug, Clone)]
struct Facts {
    serial: u64,
    valid_before: Timestamp,
    key: ssh_key::PublicKey,
}

macro_rules! accessors {
    ($type:ident) => {
        impl $type {
            /// Who it is.
            pub fn identity(&self) -> &Identity {
                &self.identity
            }

            /// From then on it is not valid.
            pub fn valid_before(&self) -> Timestamp {
                self.facts.valid_before
            }

            /// Chosen by the authority.
            pub fn serial(&self) -> u64 {
                self.facts.serial
            }

            /// The certified key. Its possession is proved by the protocol, not here.
            pub fn key(&self) -> &ssh_key::PublicKey {
                &self.facts.key
            }
        }
    };
}
accessors!(VerifiedUser);
accessors!(VerifiedHost);

impl VerifiedUser {
    /// The user inside.
    pub fn user(&self) -> &UserIdentity {
        &self.user
    }
}

impl VerifiedHost {
    /// The host inside.
    pub fn host(&self) -> &HostIdentity {
        &self.host
    }
}

/// Verifies a user certificate.
pub fn user(blob: &[u8], context: &UserContext<'_>) -> Result<VerifiedUser, Refusal> {
    let raw = signed_by(blob, &context.trust.user, "user")?;
    let facts = in_force(&raw, CertificateType::User, context.now)?;
    check_options(&raw, context.peer)?;
    let identity = of_cluster(Claims::read(&raw, context.peer)?, context.trust)?;
    let user = identity.user().cloned().ok_or(Refusal::Malformed("type"))?;
    if let Some(login) = context.login
        && !user.logins.contains(login)
    {
        return Err(Refusal::LoginNotInCertificate(login.clone()));
    }
    Ok(VerifiedUser { identity, user, facts })
}

/// Whom the cluster issued a refused certificate to, whatever speaks against it. For the record of a refusal: it says
/// who came, and tells them from strangers, who can come with as many certificates as they like. It admits nobody.
pub fn holder(blob: &[u8], trust: &TrustBundle) -> Option<UserName> {
    let raw = signed_by(blob, &trust.user, "user").ok()?;
    let identity = Claims::read(&raw, None).ok()?;
    identity.user().map(|user| user.name.clone())
}

/// Verifies a host certificate.
pub fn host(blob: &[u8], context: &HostContext<'_>) -> Result<VerifiedHost, Refusal> {
    let raw = signed_by(blob, &context.trust.host, "host")?;
    if raw.subject.is_rsa() {
        return Err(Refusal::BadKey("hosts do not have RSA keys"));
    }
    let facts = in_force(&raw, CertificateType::Host, context.now)?;
    check_options(&raw, None)?;
    let identity = of_cluster(Claims::read(&raw, None)?, context.trust)?;
    let host = identity.host().cloned().ok_or(Refusal::Malformed("type"))?;
    if !context.names.iter().any(|name| raw.principals.contains(name)) {
        return Err(Refusal::WrongHost {
            expected: shortened(&context.names.join(", ")),
            got: shortened(&raw.principals.join(", ")),
        });
    }
    Ok(VerifiedHost { identity, host, facts })
}

/// Steps 1 to 4.
fn signed_by<'a>(
    blob: &'a [u8],
    authority: &Authority,
    name: &'static str,
) -> Result<RawCertificate<'a>, Refusal> {
    let raw = RawCertificate::parse(blob)?;
    raw.plain_signer()?;
    key_blob::check_authority(raw.signature_key)?;
    if !is_trusted(raw.signature_key, authority) {
        return Err(Refusal::UntrustedCa { authority: name, signer: fingerprint(raw.signature_key) });
    }
    key_blob::verify(raw.signature_key, raw.signed, raw.signature)?;
    if is_trusted(raw.subject.as_bytes(), authority) {
        return Err(Refusal::BadKey("it is the authority's own"));
    }
    Ok(raw)
}

/// Full equality of keys, never of fingerprints.
fn is_trusted(blob: &[u8], authority: &Authority) -> bool {
    authority.ssh.iter().any(|trusted| trusted.to_bytes().is_ok_and(|trusted| trusted == blob))
}

/// Steps 5 to 7.
fn in_force(raw: &RawCertificate<'_>, kind: CertificateType, now: Timestamp) -> Result<Facts, Refusal> {
    if raw.kind != kind {
        return Err(Refusal::WrongCertType { expected: kind.as_str(), got: raw.kind.as_str() });
    }
    let valid_before = validity::check(now, raw.valid_after, raw.valid_before)?;
    if raw.principals.is_empty() {
        return Err(Refusal::NoPrincipals);
    }
    Ok(Facts { serial: raw.serial, valid_before, key: raw.subject.to_key()? })
}

/// Steps 8 and 9. `force-command` is among the unknown: a certificate of ours never has it.
fn check_options(raw: &RawCertificate<'_>, peer: Option<IpAddr>) -> Result<(), Refusal> {
    for (name, value) in &raw.critical_options {
        if *name != SOURCE_ADDRESS {
            return Err(Refusal::UnknownCriticalOption(shortened(name)));
        }
        let list = option_value(value, SOURCE_ADDRESS).map_err(|_| Refusal::BadSourceAddress)?;
        source_address::check(list, peer)?;
    }
    Ok(())
}

pub(super) fn of_cluster(identity: Identity, trust: &TrustBundle) -> Result<Identity, Refusal> {
    match identity.cluster == trust.cluster {
        true => Ok(identity),
        false => Err(Refusal::WrongCluster {
            expected: trust.cluster.to_string(),
            got: identity.cluster.to_string(),
        }),
    }
}

fn fingerprint(blob: &[u8]) -> String {
    let key = ssh_key::PublicKey::from_bytes(blob);
    key.map_or_else(
        |_| "an unreadable key".to_owned(),
        |key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string(),
    )
}
