//! SSH certificates (OpenSSH PROTOCOL.certkeys), signed with Ed25519 by aws-lc.

use crate::decide::{Extra, IssueError, Validity};
use crate::keys::{Keys, ssh_public};
use aws_lc_rs::signature::Ed25519KeyPair;
use identity::key::PublicKey;
use identity::ssh::certificate::CertificateType;
use identity::ssh::{Claims, SshCertificate};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::{Algorithm, Signature};

/// The signer's view of an authority: what ssh-key asks of it.
struct Signer<'a>(&'a Ed25519KeyPair);

impl<'a> Signer<'a> {
    fn of(keys: &'a Keys) -> Result<Self, IssueError> {
        keys.ssh().map(Self).ok_or_else(|| IssueError::Signing("the authority has no SSH key".into()))
    }
}

impl signature::Signer<Signature> for Signer<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<Signature, signature::Error> {
        let signature = self.0.sign(message);
        Signature::new(Algorithm::Ed25519, signature.as_ref()).map_err(signature::Error::from_source)
    }
}

/// An SSH signature (RFC 4253, section 6.6) over any bytes.
pub(crate) fn signature(keys: &Keys, message: &[u8]) -> Result<Vec<u8>, IssueError> {
    let failed = |error: &dyn std::fmt::Display| IssueError::Signing(error.to_string());
    let signature =
        signature::Signer::try_sign(&Signer::of(keys)?, message).map_err(|error| failed(&error))?;
    Vec::try_from(signature).map_err(|error: ssh_key::Error| failed(&error))
}

impl From<&Signer<'_>> for ssh_key::public::KeyData {
    fn from(signer: &Signer<'_>) -> Self {
        ssh_public(signer.0).key_data().clone()
    }
}

/// What goes into one certificate beside its signature.
pub(crate) struct Contents<'a> {
    pub claims: &'a Claims,
    pub public_key: &'a PublicKey,
    pub validity: Validity,
    pub serial: u64,
    /// Random; makes the signed bytes unpredictable (PROTOCOL.certkeys).
    pub nonce: [u8; 32],
    pub extra: &'a [Extra],
}

pub(crate) fn certificate(keys: &Keys, contents: &Contents<'_>) -> Result<SshCertificate, IssueError> {
    let failed = |error: ssh_key::Error| IssueError::Signing(error.to_string());
    let Claims { kind, key_id, principals, critical_options, extensions } = contents.claims;
    let seconds =
        |at: jiff::Timestamp| u64::try_from(at.as_second()).map_err(|_| IssueError::Signing("time".into()));
    let (after, before) = (seconds(contents.validity.after)?, seconds(contents.validity.before)?);
    let mut builder =
        Builder::new(contents.nonce, contents.public_key.ssh(), after, before).map_err(failed)?;
    builder.serial(contents.serial).map_err(failed)?;
    builder
        .cert_type(match kind {
            CertificateType::User => CertType::User,
            CertificateType::Host => CertType::Host,
        })
        .map_err(failed)?;
    builder.key_id(key_id).map_err(failed)?;
    for principal in principals {
        builder.valid_principal(principal).map_err(failed)?;
    }
    for (name, value) in critical_options {
        builder.critical_option(name, value).map_err(failed)?;
    }
    let extra = contents.extra.iter().map(|extra| (&extra.name, &extra.value));
    for (name, value) in extensions.iter().chain(extra) {
        builder.extension(name, value).map_err(failed)?;
    }
    let certificate = builder.sign(&Signer::of(keys)?).map_err(failed)?;
    let line = certificate.to_openssh().map_err(failed)?;
    SshCertificate::from_line(&line).map_err(IssueError::from)
}
