//! What is due, whatever it is: each output by the module that knows it.

use super::member::Member;
use super::output::{self, Written};
use super::workload;
use super::workload_api::Apis;
use crate::config::{Content, Output, Server};
use jiff::Timestamp;
use std::sync::Arc;

/// Renews `outputs`; what came of each is in their order. One that fails keeps no other from its work.
pub async fn all(
    member: &Member,
    server: &Server,
    outputs: &[&Output],
    apis: &mut Apis,
    now: Timestamp,
) -> Vec<Written> {
    let of_ssh = |output: &&&Output| matches!(output.content, Content::Identity { .. });
    let identities: Vec<&Output> = outputs.iter().filter(of_ssh).copied().collect();
    let mut identities = match identities.is_empty() {
        true => Vec::new().into_iter(),
        false => output::refresh(member, server, &identities, now).await.into_iter(),
    };
    let mut written = Vec::with_capacity(outputs.len());
    for output in outputs {
        written.push(match &output.content {
            Content::Identity { .. } => identities.next().unwrap_or_else(|| Err(Arc::new(output::too_few()))),
            Content::Svid(files) => workload::write(member, output, files, now).await.map_err(Arc::new),
            Content::WorkloadApi(api) => apis.refresh(member, output, api, now).await.map_err(Arc::new),
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
    }
}
