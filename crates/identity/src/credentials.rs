//! Credentials: a private key, its two certificates, and whom to trust.

use crate::key::{PublicKey, SubjectKey};
use crate::ssh::SshCertificate;
use crate::trust::TrustBundle;
use crate::x509::parsed::Parsed;
use crate::{Identity, Refusal};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

/// A set that fits together: both certificates are about the key and about the same identity. A host's SSH certificate may
/// be about another key, which somebody else holds. Only [`Credentials::new`] and [`Credentials::of_host`] make one.
///
/// The identity inside is what the authority wrote, not something verified here: whoever meets these
/// credentials verifies them.
#[derive(Clone)]
pub struct Credentials {
    /// The private key.
    pub key: SubjectKey,
    /// The SSH certificate.
    pub ssh_certificate: SshCertificate,
    /// The X.509 certificates, leaf first.
    pub tls_chain: Vec<CertificateDer<'static>>,
    /// Whom to trust; may be replaced by a newer bundle.
    pub trust: TrustBundle,
    ssh_key: PublicKey,
    identity: Identity,
    valid_after: Timestamp,
    expires: Timestamp,
    serial: u64,
}

/// Why parts do not make a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// There is no X.509 certificate.
    #[error("there is no TLS certificate; the file is incomplete")]
    NoTlsCertificate,
    /// The TLS certificate cannot be used.
    #[error("the TLS certificate: {0}")]
    Tls(Refusal),
    /// The SSH certificate cannot be used.
    #[error("the SSH certificate: {0}")]
    Ssh(Refusal),
    /// A certificate is about another key.
    #[error(
        "the {certificate} certificate is not about this private key; the parts are of different renewals"
    )]
    OtherKey {
        /// `SSH` or `TLS`.
        certificate: &'static str,
    },
    /// The two certificates are about different identities.
    #[error("the SSH and the TLS certificate are about different identities")]
    OtherIdentity,
}

impl Credentials {
    /// Puts a set together, or says why the parts are not one.
    pub fn new(
        key: SubjectKey,
        ssh_certificate: SshCertificate,
        tls_chain: Vec<CertificateDer<'static>>,
        trust: TrustBundle,
    ) -> Result<Self, CredentialsError> {
        let credentials = Self::of_any(key, ssh_certificate, tls_chain, trust)?;
        match credentials.one_key_serves_both() {
            true => Ok(credentials),
            false => Err(CredentialsError::OtherKey { certificate: "SSH" }),
        }
    }

    /// The same for a host, whose SSH certificate may be about a key that is not here; [`Self::ssh_key`] says which, and
    /// whoever has such a set asks whether it is the right one.
    pub fn of_host(
        key: SubjectKey,
        ssh_certificate: SshCertificate,
        tls_chain: Vec<CertificateDer<'static>>,
        trust: TrustBundle,
    ) -> Result<Self, CredentialsError> {
        let credentials = Self::of_any(key, ssh_certificate, tls_chain, trust)?;
        match credentials.one_key_serves_both() || credentials.identity.host().is_some() {
            true => Ok(credentials),
            false => Err(CredentialsError::OtherKey { certificate: "SSH" }),
        }
    }

    fn of_any(
        key: SubjectKey,
        ssh_certificate: SshCertificate,
        tls_chain: Vec<CertificateDer<'static>>,
        trust: TrustBundle,
    ) -> Result<Self, CredentialsError> {
        let leaf = tls_chain.first().ok_or(CredentialsError::NoTlsCertificate)?;
        let leaf = Parsed::parse(leaf).map_err(CredentialsError::Tls)?;
        if leaf.key != *key.public() {
            return Err(CredentialsError::OtherKey { certificate: "TLS" });
        }
        let identity = crate::x509::Claims::read(&leaf).map_err(CredentialsError::Tls)?;
        let (not_before, not_after) = times(leaf.not_before, leaf.not_after.saturating_add(1))
            .ok_or(CredentialsError::Tls(Refusal::BadValidity))?;
        let serial = leaf.serial.ok_or(CredentialsError::Tls(Refusal::Malformed("serial")))?;
        let raw = ssh_certificate.raw();
        let ssh_key = ssh_key::PublicKey::from_bytes(raw.subject.as_bytes()).ok();
        let ssh_key = ssh_key.and_then(|key| PublicKey::from_ssh(&key).ok());
        let ssh_key = ssh_key.ok_or(CredentialsError::OtherKey { certificate: "SSH" })?;
        if crate::ssh::Claims::read(&raw, None).map_err(CredentialsError::Ssh)? != identity {
            return Err(CredentialsError::OtherIdentity);
        }
        let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (after, before) = times(seconds(raw.valid_after), seconds(raw.valid_before))
            .ok_or(CredentialsError::Ssh(Refusal::BadValidity))?;
        Ok(Self {
            valid_after: not_before.max(after),
            expires: not_after.min(before),
            key,
            ssh_key,
            tls_chain,
            trust,
            identity,
            serial,
            ssh_certificate,
        })
    }

    /// The key that the SSH certificate is about.
    pub fn ssh_key(&self) -> &PublicKey {
        &self.ssh_key
    }

    /// Whether the private key here is the one for SSH as well.
    pub fn one_key_serves_both(&self) -> bool {
        self.ssh_key == *self.key.public()
    }

    /// Who this is, in the authority's words.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Before then it is not valid.
    pub fn valid_after(&self) -> Timestamp {
        self.valid_after
    }

    /// From then on one of the certificates is not valid.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The serial number that both certificates share.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, {:?}, until {})", self.identity.uri(), self.key, self.expires)
    }
}

fn times(after: i64, before: i64) -> Option<(Timestamp, Timestamp)> {
    Some((Timestamp::from_second(after).ok()?, Timestamp::from_second(before).ok()?))
}
