//! What is due, whatever it is: each output by the module that knows it.

use super::member::Member;
use super::output::{self, Fresh, Written};
use super::workload_api::Apis;
use super::{AgentError, ssh_host, sshd, workload};
use crate::config::{Config, Content, Output};
use identity::TrustBundle;
use jiff::Timestamp;
use std::sync::Arc;

/// Renews `outputs`; what came of each is in their order. One that fails keeps no other from its work.
pub async fn all(
    member: &Member,
    config: &Config,
    outputs: &[&Output],
    apis: &mut Apis,
    now: Timestamp,
) -> Vec<Written> {
    let of_ssh = |output: &&&Output| matches!(output.content, Content::Identity { .. });
    let identities: Vec<&Output> = outputs.iter().filter(of_ssh).copied().collect();
    let mut identities = match identities.is_empty() {
        true => Vec::new().into_iter(),
        false => output::refresh(member, &config.server, &identities, now).await.into_iter(),
    };
    let trust = member.credentials().trust.revision;
    let of_now = |expires: Timestamp| Fresh { expires, trust };
    let mut written = Vec::with_capacity(outputs.len());
    for output in outputs {
        written.push(match &output.content {
            Content::Identity { .. } => identities.next().unwrap_or_else(|| Err(Arc::new(output::too_few()))),
            Content::Svid(files) => {
                workload::write(member, output, files, now).await.map(of_now).map_err(Arc::new)
            }
            Content::WorkloadApi(api) => {
                apis.refresh(member, output, api, now).await.map(of_now).map_err(Arc::new)
            }
            Content::SshHost { principals } => {
                ssh_host::refresh(member, output, principals, now).await.map_err(Arc::new)
            }
            Content::Sshd(sshd) => {
                let server = sshd::Server { output, sshd, method: &config.onboarding.method };
                server.renew(member, now).await.map_err(Arc::new)
            }
        });
    }
    written
}

/// What an earlier run wrote is good until then.
pub fn expires(output: &Output) -> Option<Timestamp> {
    match &output.content {
        Content::Identity { .. } => output::expires(output),
        Content::Svid(files) => workload::expires(output, files),
        Content::WorkloadApi(_) => None,
        Content::SshHost { .. } | Content::Sshd(_) => ssh_host::expires(&output.destination),
    }
}

/// Whether what is there is good now.
pub fn is_valid(output: &Output) -> bool {
    expires(output).is_some_and(|expires| expires > Timestamp::now())
}

/// Writes what is there already with another trust bundle. `false` when that cannot be done, or is not enough: then everything
/// has to be asked for anew.
pub async fn rewrite(
    member: &Member,
    config: &Config,
    output: &Output,
    trust: &TrustBundle,
    now: Timestamp,
) -> Result<bool, AgentError> {
    match &output.content {
        Content::Identity { .. } => output::rewrite(member, &config.server, output, trust, now).await,
        Content::SshHost { .. } => ssh_host::rewrite(output, trust.clone(), now),
        Content::Sshd(sshd) => {
            let server = sshd::Server { output, sshd, method: &config.onboarding.method };
            server.trust(trust.clone(), now).await
        }
        // Their bundles come with their documents.
        Content::Svid(_) | Content::WorkloadApi(_) => Ok(false),
    }
}
