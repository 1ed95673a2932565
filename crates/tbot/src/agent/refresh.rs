//! What is due, whatever it is: each output by the module that knows it, all of them by one call to the cluster.

use super::issue::{self, Given, Wish, too_few};
use super::member::Member;
use super::output::{self, Fresh, Written};
use super::workload_api::Apis;
use super::{AgentError, ssh_host, sshd, workload};
use crate::config::{Config, Content, Output};
use access::HostPort;
use identity::TrustBundle;
use identity::svid::WorkloadTrust;
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Renews `outputs`; what came of each is in their order. One that fails keeps no other from its work.
pub async fn all(
    member: &Member,
    config: &Config,
    outputs: &[&Output],
    apis: &mut Apis,
    now: Timestamp,
) -> Vec<Written> {
    let (mut asking, mut wishes) = (Vec::with_capacity(outputs.len()), Vec::with_capacity(outputs.len()));
    for output in outputs {
        let wished = wished(member, config, output, apis);
        asking.push(wished.map(|wished| wishes.push(wished)).map_err(Arc::new));
    }
    let mut given = issue::together(member.channel(), wishes).await.into_iter();
    let round = Round { member, config, apis, now, proxy: OnceCell::new() };
    let mut written = Vec::with_capacity(outputs.len());
    for (output, asked) in outputs.iter().zip(asking) {
        let given = asked.and_then(|()| given.next().unwrap_or_else(|| Err(Arc::new(too_few()))));
        written.push(match given {
            Ok(given) => round.written(output, given).await,
            Err(error) => Err(error),
        });
    }
    written
}

/// What an output asks the cluster for. Before that, whether the answer could be used.
fn wished(
    member: &Member,
    config: &Config,
    output: &Output,
    apis: &mut Apis,
) -> Result<Vec<Wish>, AgentError> {
    match &output.content {
        Content::Identity { .. } => output::wish(member, output).map(|wish| vec![wish]),
        Content::Svid(files) => workload::wishes(output, files),
        Content::WorkloadApi(api) => apis.wishes(output, api),
        Content::SshHost { principals } => ssh_host::wish(output, principals).map(|wish| vec![wish]),
        Content::Sshd(sshd) => {
            let server = sshd::Server { output, sshd, method: &config.onboarding.method };
            server.wish(member).map(|wish| vec![wish])
        }
    }
}

/// What every output of a round goes by.
struct Round<'a> {
    member: &'a Member,
    config: &'a Config,
    apis: &'a Apis,
    now: Timestamp,
    /// Where clients are sent to, asked for at most once.
    proxy: OnceCell<Result<HostPort, Arc<AgentError>>>,
}

impl Round<'_> {
    async fn written(&self, output: &Output, given: Given) -> Written {
        let Self { member, config, apis, now, .. } = *self;
        let written = match &output.content {
            Content::Identity { .. } => {
                let proxy = self.proxy(output).await?;
                output::written(member, output, given, proxy.as_ref(), now).await
            }
            Content::Svid(files) => workload::written(member, output, files, given, now).await,
            Content::WorkloadApi(api) => apis.renewed(member, output, api, given, now),
            Content::SshHost { .. } => self.of_host(output, ssh_host::written(output, given, now).await),
            Content::Sshd(sshd) => {
                let server = sshd::Server { output, sshd, method: &config.onboarding.method };
                self.of_host(output, server.renewed(given, now).await)
            }
        };
        written.map_err(Arc::new)
    }

    /// For an output that names one in what it writes.
    async fn proxy(&self, output: &Output) -> Result<Option<HostPort>, Arc<AgentError>> {
        if !output.ssh_config() {
            return Ok(None);
        }
        let asking = async || output::proxy_address(self.member, &self.config.server).await.map_err(Arc::new);
        self.proxy.get_or_init(asking).await.clone().map(Some)
    }

    fn of_host(&self, output: &Output, written: Result<Fresh, AgentError>) -> Result<Fresh, AgentError> {
        let fresh = written?;
        let whose = format!("the output {}", output.destination);
        self.member.compare_life((&whose, ssh_host::CAP), fresh.expires, output.certificate_ttl, self.now);
        Ok(fresh)
    }
}

/// What an earlier run wrote is good until then; nothing where some of it is gone.
pub fn expires(output: &Output) -> Option<Timestamp> {
    if !output.destination.is_whole() {
        return None;
    }
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

/// Whom to trust from now on.
pub struct Trusted<'a> {
    /// Members of the cluster.
    pub members: &'a TrustBundle,
    /// Its workloads; absent where no output is about them.
    pub workloads: Option<WorkloadTrust>,
}

/// What became of an output when the cluster's authorities changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It is written again, with the keys and certificates that it had.
    Written,
    /// There is nothing in it that the change is about.
    AsBefore,
    /// That cannot be done, or is not enough: everything has to be asked for anew.
    Stale,
}

/// Writes what is there already with another trust bundle.
pub async fn rewrite(
    member: &Member,
    config: &Config,
    output: &Output,
    trust: &Trusted<'_>,
    apis: &Apis,
    now: Timestamp,
) -> Result<Followed, AgentError> {
    let workloads = || trust.workloads.as_ref().ok_or_else(too_few);
    match &output.content {
        Content::Identity { .. } => output::rewrite(member, &config.server, output, trust.members, now).await,
        Content::SshHost { .. } => ssh_host::rewrite(output, trust.members.clone(), now).await,
        Content::Sshd(sshd) => {
            let server = sshd::Server { output, sshd, method: &config.onboarding.method };
            server.trust(trust.members.clone(), now).await
        }
        Content::Svid(files) => workload::rewrite(output, files, workloads()?, now).await,
        Content::WorkloadApi(_) => Ok(apis.trust(output, workloads()?, now)),
    }
}
