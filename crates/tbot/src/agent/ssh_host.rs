//! An `ssh_host` output: a host key, a host certificate and the authorities of users, as a stock OpenSSH server takes them
//! (fact sheet, section 3.6).

use super::AgentError;
use super::issue::{Given, Wish, too_few, unusable};
use super::member;
use super::output::Fresh;
use super::refresh::Followed;
use crate::config::Output;
use crate::destination::{Destination, FileSet};
use api::v1::HostRequest;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
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

/// Where the limit of a host certificate's life comes from.
pub const CAP: &str = "the limit is a week, and the end of the bot's own identity where it joins again";

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

/// What an output asks the cluster for: a certificate for a fresh key.
pub fn wish(output: &Output, principals: &[String]) -> Result<Wish, AgentError> {
    output.destination.prepare()?;
    let wanted = Wanted { principals, roles: &output.roles, ttl: output.certificate_ttl };
    Ok(wanted.over(member::fresh_key()?))
}

/// What the cluster gave, written whole.
pub async fn written(output: &Output, mut given: Given, now: Timestamp) -> Result<Fresh, AgentError> {
    let (key, issued) = read(&mut given)?;
    let (expires, files) = (issued.expires(), files(&key, &issued)?);
    output.destination.publish_output(now, expires, |_| files).await?;
    tracing::info!(service = output.name, output = %output.destination, %expires, "host certificate written");
    Ok(Fresh { expires, trust: issued.trust.revision })
}

/// The same key and certificate with another trust bundle; stale when there are none, or none that it covers.
pub async fn rewrite(output: &Output, trust: TrustBundle, now: Timestamp) -> Result<Followed, AgentError> {
    let read = |name: &str| -> Result<Option<String>, AgentError> {
        let contents = output.destination.read(name)?;
        Ok(contents.and_then(|contents| String::from_utf8(contents.to_vec()).ok()))
    };
    let Some((pem, line)) = read(KEY)?.map(Zeroizing::new).zip(read(CERTIFICATE)?) else {
        return Ok(Followed::Stale);
    };
    let key = SubjectKey::from_pem(&pem).map_err(AgentError::unusable("the host key"))?;
    let certificate =
        SshCertificate::from_line(&line).map_err(AgentError::unusable("the host certificate"))?;
    let issued = Issued { certificate, trust };
    if issued.expires() <= now || !issued.is_covered() {
        return Ok(Followed::Stale);
    }
    let (expires, files) = (issued.expires(), files(&key, &issued)?);
    output.destination.publish_output(now, expires, |_| files).await?;
    Ok(Followed::Written)
}

impl Wanted<'_> {
    /// Over this key.
    pub fn over(&self, key: SubjectKey) -> Wish {
        let request = HostRequest {
            public_key: key.spki_der(),
            principals: self.principals.to_vec(),
            roles: self.roles.iter().map(ToString::to_string).collect(),
            ttl_seconds: self.ttl.as_secs(),
        };
        Wish { kind: Kind::Host(request), key: Some(key) }
    }
}

/// A host certificate that was given, and its key.
pub fn read(given: &mut Given) -> Result<(SubjectKey, Issued), AgentError> {
    let (answer, key) = given.next()?;
    let Answer::Host(answer) = answer else { return Err(too_few()) };
    let certificate = SshCertificate::from_line(&answer.ssh_certificate)
        .map_err(|refusal| unusable(format!("the host certificate: {refusal}")))?;
    let raw = certificate.raw();
    if raw.kind != CertificateType::Host || raw.subject.to_key().ok().as_ref() != Some(&key.public().ssh()) {
        return Err(unusable("the certificate is not a host's, or about another key"));
    }
    let trust = answer.trust.ok_or_else(|| unusable("it has no trust bundle"))?;
    let trust = api::convert::trust(trust).map_err(unusable)?;
    Ok((key, Issued { certificate, trust }))
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
