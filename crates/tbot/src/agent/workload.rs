//! Documents for workloads: asked for, looked at (fact sheet, section 3.6).

mod files;

pub use files::{expires, names, rewrite, wishes, written};

use super::AgentError;
use super::issue::{Given, Granted, Wish, too_few, unusable};
use super::member;
use crate::config::{Output, Svid};
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::workload_service_client::WorkloadServiceClient;
use api::v1::{JwtSvid, JwtSvidRequest, WorkloadTrustRequest, X509SvidRequest};
use identity::key::SubjectKey;
use identity::svid::{WorkloadTrust, verify};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::time::Duration;
use tonic::transport::Channel;
use transport::rpc::within;

/// Where the limit of a document's life comes from.
pub const CAP: &str = "the limit is the shortest max_session_ttl of the output's roles, and 24h in any case";

/// What an answer about trust may take; it is asked for again.
const ANSWER: Duration = Duration::from_secs(20);

/// An X.509-SVID with its key.
pub struct Held {
    /// `spiffe://...`.
    pub id: String,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: SubjectKey,
    /// Not valid from then on.
    pub valid_before: Timestamp,
}

/// What is asked for beside the workloads.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Roles that allow it; empty for all of the bot's.
    pub roles: Vec<String>,
    /// Life that is asked for, in seconds.
    pub ttl_seconds: u64,
}

impl Terms {
    /// Those of an output.
    pub fn of(output: &Output) -> Self {
        let roles = output.roles.iter().map(ToString::to_string).collect();
        Self { roles, ttl_seconds: output.certificate_ttl.as_secs() }
    }

    /// An X.509-SVID of a workload, with a fresh key.
    pub fn x509(&self, svid: &Svid) -> Result<Wish, AgentError> {
        let key = member::fresh_key()?;
        let request = X509SvidRequest {
            public_key: key.spki_der(),
            path: svid.path.to_string(),
            dns_sans: svid.dns.iter().map(ToString::to_string).collect(),
            ip_sans: svid.addresses.iter().map(ToString::to_string).collect(),
            ttl_seconds: self.ttl_seconds,
            roles: self.roles.clone(),
            hint: svid.hint.clone(),
        };
        Ok(Wish { kind: Kind::X509Svid(request), key: Some(key) })
    }

    /// A JWT-SVID of a workload for an audience.
    pub fn jwt(&self, svid: &Svid, audience: &[String]) -> Wish {
        let request = JwtSvidRequest {
            path: svid.path.to_string(),
            audience: audience.to_vec(),
            ttl_seconds: self.ttl_seconds,
            roles: self.roles.clone(),
            hint: svid.hint.clone(),
        };
        Wish { kind: Kind::JwtSvid(request), key: None }
    }
}

/// The next thing that was given: an X.509-SVID of this workload.
pub fn x509(given: &mut Given, svid: &Svid, now: Timestamp) -> Result<Held, AgentError> {
    let trust = given.workload_trust()?;
    let (answer, key) = given.next()?;
    let Answer::X509Svid(answer) = answer else { return Err(too_few()) };
    let chain: Vec<CertificateDer<'static>> = answer.certificates.into_iter().map(Into::into).collect();
    let said = verify(&chain, &trust, now.max(Timestamp::now())).map_err(unusable)?;
    if said.key() != key.public() || said.id().path != svid.path {
        return Err(unusable("an SVID is about another workload or another key"));
    }
    Ok(Held { id: said.id().to_string(), chain, key, valid_before: said.valid_before() })
}

/// The next thing that was given: a JWT-SVID.
pub fn jwt(given: &mut Given) -> Result<JwtSvid, AgentError> {
    match given.granted.next() {
        Some(Granted { answer: Answer::JwtSvid(svid), .. }) => Ok(svid),
        _ => Err(too_few()),
    }
}

/// Whom to trust for workloads now.
pub async fn trust(channel: Channel) -> Result<WorkloadTrust, AgentError> {
    let request = within(ANSWER, WorkloadTrustRequest {});
    let answer = WorkloadServiceClient::new(channel).trust(request).await;
    let answer = answer.map_err(AgentError::call("asking whom to trust for workloads"))?;
    api::convert::workload_trust(answer.into_inner()).map_err(unusable)
}
