//! An `ssh_host` output: a host key, a host certificate and the authorities of users, as a stock OpenSSH server takes them
//! (fact sheet, section 3.6).

use super::AgentError;
use super::member::{self, Member};
use super::output::Fresh;
use crate::config::Output;
use crate::destination::{Destination, FileSet};
use api::v1::IssueHostRequest;
use api::v1::certificate_service_client::CertificateServiceClient;
use identity::TrustBundle;
use identity::key::SubjectKey;
use identity::openssh::{UserAuthority, trusted_user_authorities};
use identity::ssh::{CertificateType, SshCertificate};
use identity::trust::Authority;
use jiff::Timestamp;
use std::time::Duration;
use zeroize::Zeroizing;

/// For `HostKey`.
pub const KEY: &str = "ssh_host";
/// For `HostCertificate`.
pub const CERTIFICATE: &str = "ssh_host-cert.pub";
/// For `TrustedUserCAKeys`.
pub const USER_AUTHORITIES: &str = "ssh_host-user-ca.pub";
/// Every file of the output.
pub const NAMES: [&str; 3] = [KEY, CERTIFICATE, USER_AUTHORITIES];

/// What a server is to be certified as.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its names and addresses.
    pub principals: &'a [String],
    /// The roles that must allow it; empty for all of the bot's.
    pub roles: &'a [access::RoleName],
    /// How long it is to be valid.
    pub ttl: Duration,
}

/// A host certificate, and whom the cluster says to trust.
#[derive(Debug)]
pub struct Issued {
    /// Over the key that it was asked for with.
    pub certificate: SshCertificate,
    /// As of the same moment.
    pub trust: TrustBundle,
}

impl Issued {
    /// From then on it is not valid.
    pub fn expires(&self) -> Timestamp {
        valid_before(&self.certificate)
    }

    /// Whether its signer is among the host authorities.
    pub fn is_covered(&self) -> bool {
        signed_by(&self.certificate, &self.trust.host)
    }
}

/// A fresh key and a certificate for it, written whole.
pub async fn refresh(
    member: &Member,
    output: &Output,
    principals: &[String],
    now: Timestamp,
) -> Result<Fresh, AgentError> {
    let key = member::fresh_key()?;
    let wanted = Wanted { principals, roles: &output.roles, ttl: output.certificate_ttl };
    let issued = certificate(member, &key, wanted).await?;
    let (expires, files) = (issued.expires(), files(&key, &issued)?);
    output.destination.publish(now, expires, |_| files)?;
    tracing::info!(service = output.name, output = %output.destination, %expires, "host certificate written");
    Ok(Fresh { expires, trust: issued.trust.revision })
}

/// The same key and certificate with another trust bundle; `false` when there are none, or none that it covers.
pub fn rewrite(output: &Output, trust: TrustBundle, now: Timestamp) -> Result<bool, AgentError> {
    let read = |name: &str| -> Result<Option<String>, AgentError> {
        let contents = output.destination.read(name)?;
        Ok(contents.and_then(|contents| String::from_utf8(contents.to_vec()).ok()))
    };
    let Some((pem, line)) = read(KEY)?.map(Zeroizing::new).zip(read(CERTIFICATE)?) else { return Ok(false) };
    let key = SubjectKey::from_pem(&pem).map_err(AgentError::unusable("the host key"))?;
    let certificate =
        SshCertificate::from_line(&line).map_err(AgentError::unusable("the host certificate"))?;
    let issued = Issued { certificate, trust };
    if issued.expires() <= now || !issued.is_covered() {
        return Ok(false);
    }
    let (expires, files) = (issued.expires(), files(&key, &issued)?);
    output.destination.publish(now, expires, |_| files)?;
    Ok(true)
}

/// Asks for a host certificate over `key`.
pub async fn certificate(
    member: &Member,
    key: &SubjectKey,
    wanted: Wanted<'_>,
) -> Result<Issued, AgentError> {
    let request = IssueHostRequest {
        public_key: key.spki_der(),
        principals: wanted.principals.to_vec(),
        roles: wanted.roles.iter().map(ToString::to_string).collect(),
        ttl_seconds: wanted.ttl.as_secs(),
    };
    let mut client = CertificateServiceClient::new(member.channel());
    let doing = "asking for a host certificate";
    let answer = client.issue_host(request).await.map_err(AgentError::call(doing))?.into_inner();
    let wrong = |reason: String| AgentError::Unusable { what: "the cluster's answer", reason };
    let certificate = SshCertificate::from_line(&answer.ssh_certificate)
        .map_err(|refusal| wrong(format!("the host certificate: {refusal}")))?;
    let raw = certificate.raw();
    if raw.kind != CertificateType::Host || raw.subject.to_key().ok().as_ref() != Some(&key.public().ssh()) {
        return Err(wrong("the certificate is not a host's, or about another key".to_owned()));
    }
    let trust = answer.trust.ok_or_else(|| wrong("it has no trust bundle".to_owned()))?;
    let trust = api::convert::trust(trust).map_err(AgentError::unusable("the cluster's answer"))?;
    Ok(Issued { certificate, trust })
}

/// Until when the certificate that an earlier run wrote is good.
pub fn expires(destination: &Destination) -> Option<Timestamp> {
    let line = destination.read(CERTIFICATE).ok()??;
    SshCertificate::from_line(std::str::from_utf8(&line).ok()?).ok().map(|found| valid_before(&found))
}

/// What stands in the files.
pub fn files(key: &SubjectKey, issued: &Issued) -> Result<FileSet, AgentError> {
    let pem = key.to_sec1_pem().map_err(AgentError::unusable("the host key"))?;
    let text = |contents: String| Zeroizing::new(contents.into_bytes());
    Ok([
        (KEY.to_owned(), Zeroizing::new(pem.as_bytes().to_vec())),
        (CERTIFICATE.to_owned(), text(format!("{}\n", issued.certificate.line().trim_end()))),
        (USER_AUTHORITIES.to_owned(), text(trusted_user_authorities(&issued.trust, UserAuthority::User))),
    ]
    .into())
}

/// Whether the signer of a certificate is one of these.
pub fn signed_by(certificate: &SshCertificate, authority: &Authority) -> bool {
    let signer = certificate.raw().signature_key;
    authority.ssh.iter().any(|trusted| trusted.to_bytes().is_ok_and(|trusted| trusted == signer))
}

fn valid_before(certificate: &SshCertificate) -> Timestamp {
    let seconds = i64::try_from(certificate.raw().valid_before).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
