//! Certificates for several outputs in one call; one that is refused does not cost the others theirs.

use super::AgentError;
use super::member::{self, Member};
use crate::config::Output;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::{IssueOutputsRequest, OutputRequest};
use identity::credentials::Credentials;
use std::sync::Arc;

/// Certificates, or why there are none, in the order of `outputs`.
pub async fn certificates(member: &Member, outputs: &[&Output]) -> Vec<Result<Credentials, Arc<AgentError>>> {
    if outputs.is_empty() {
        return Vec::new();
    }
    match together(member, outputs).await {
        Ok(issued) => issued.into_iter().map(Ok).collect(),
        // The whole call fails with one of them; which one, only asking for each tells.
        Err(error) if outputs.len() > 1 && !error.may_pass() => {
            let mut each = Vec::with_capacity(outputs.len());
            for output in outputs {
                let issued = together(member, &[output]).await;
                each.push(issued.and_then(|mut one| one.pop().ok_or_else(wrong_number)).map_err(Arc::new));
            }
            each
        }
        Err(error) => {
            let error = Arc::new(error);
            outputs.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

fn wrong_number() -> AgentError {
    let reason = "it has another number of certificates than outputs were asked for".to_owned();
    AgentError::Unusable { what: "the cluster's answer", reason }
}

async fn together(member: &Member, outputs: &[&Output]) -> Result<Vec<Credentials>, AgentError> {
    let mut keys = Vec::with_capacity(outputs.len());
    for _ in outputs {
        keys.push(member::fresh_key()?);
    }
    let requests = outputs.iter().zip(&keys).map(|(output, key)| OutputRequest {
        public_key: key.spki_der(),
        roles: output.roles.iter().map(ToString::to_string).collect(),
        ttl_seconds: output.certificate_ttl.as_secs(),
    });
    let request = IssueOutputsRequest { outputs: requests.collect() };
    let mut client = CertificateServiceClient::new(member.channel());
    let doing = "asking for the outputs' certificates";
    let answer = client.issue_outputs(request).await.map_err(AgentError::call(doing))?;
    let issued = answer.into_inner().credentials;
    if issued.len() != keys.len() {
        return Err(wrong_number());
    }
    keys.into_iter().zip(issued).map(|(key, given)| member::credentials(key, Some(given))).collect()
}
