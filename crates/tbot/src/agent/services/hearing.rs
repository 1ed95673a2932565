//! What an agent hears from the cluster unasked: other authorities, locks for the SSH servers that it looks after, and whether
//! those are among the cluster's nodes.

use super::{Agent, failure, random};
use crate::agent::follow::{Follow, News, SPREAD};
use crate::agent::refresh::{self, Followed, Trusted};
use crate::agent::schedule::Retry;
use crate::agent::sshd::{self, Registration};
use crate::agent::workload;
use crate::config::Content;
use api::v1::SshServerState;
use identity::TrustBundle;
use identity::svid::WorkloadTrust;
use jiff::Timestamp;
use std::sync::Arc;
use transport::backoff::between_zero_and;

impl Agent {
    /// The stock servers that hear of locks, and those of them that are to be in the inventory.
    pub(in crate::agent) fn servers(&self) -> Vec<(String, Registration)> {
        let servers = self.config.outputs.iter().filter_map(|output| match &output.content {
            Content::Sshd(sshd) => {
                Some((output.name.clone(), Registration::of(sshd, refresh::is_valid(output))))
            }
            _ => None,
        });
        servers.collect()
    }

    /// Tells the streams who the agent is now, and takes in what was heard on them.
    pub(in crate::agent) async fn hear(&mut self, follow: &mut Follow) {
        for (name, registration) in self.servers() {
            follow.register(&name, registration);
        }
        follow.be(self.member.as_ref());
        let mut news = follow.heard();
        if news.iter().any(|news| !matches!(news, News::Link(_, Some(_)))) {
            self.try_again_soon();
        }
        if let Some(trust) = self.unfollowed.take()
            && !news.iter().any(|news| matches!(news, News::Trust(_)))
        {
            news.push(News::Trust(trust));
        }
        if news.is_empty() && self.unapplied.is_empty() {
            return;
        }
        for item in news {
            match item {
                News::Trust(trust) => self.trust(trust).await,
                News::Server(name, state) => _ = self.unapplied.insert(name, state),
                News::Link(name, trouble) => self.heard(name, trouble),
            }
        }
        for (name, state) in std::mem::take(&mut self.unapplied) {
            match self.server(&name, &state).await {
                true => follow.applied(&name, state.revision),
                false => _ = self.unapplied.insert(name, state),
            }
        }
        self.report();
    }

    /// Whoever says something is there again; what failed while it was away need not wait as long as it would.
    fn try_again_soon(&mut self) {
        let now = self.now();
        for schedule in [&mut self.own].into_iter().chain(&mut self.outputs) {
            schedule.hurry_after_failure(now, between_zero_and(SPREAD));
        }
    }

    /// The cluster's authorities have changed. What was written is written again with them, with the keys and certificates
    /// that it has; what they do not cover any more is asked for anew.
    async fn trust(&mut self, trust: Arc<TrustBundle>) {
        let Some(member) = &self.member else { return };
        let now = Timestamp::now();
        match member.trust(&trust, now) {
            Ok(true) => {}
            Ok(false) => self.own.hurry(),
            Err(error) => {
                tracing::error!(%error, "the agent could not take in whom to trust");
                self.own.hurry();
            }
        }
        let behind: Vec<usize> = (0..self.outputs.len())
            .filter(|at| self.trusts[*at] != trust.revision && !self.outputs[*at].is_due(self.now()))
            .collect();
        let workloads = self.workload_trust(&behind).await;
        let trusted = Trusted { members: &trust, workloads };
        for at in behind {
            if trusted.workloads.is_none() && self.is_of_workloads(at) {
                self.unfollowed = Some(trust.clone());
                continue;
            }
            let Some(member) = &self.member else { return };
            let output = &self.config.outputs[at];
            let followed = refresh::rewrite(member, &self.config, output, &trusted, &self.apis, now).await;
            let revision = trust.revision;
            match followed {
                Ok(Followed::AsBefore) => self.trusts[at] = revision,
                Ok(Followed::Written) => {
                    tracing::info!(
                        service = output.name,
                        revision,
                        "written again, with the authorities that the cluster has now"
                    );
                    self.trusts[at] = revision;
                    self.after(at);
                }
                Ok(Followed::Stale) => self.outputs[at].hurry(),
                Err(error) => {
                    tracing::error!(service = output.name, %error, "not written with the new authorities yet");
                    self.outputs[at].hurry();
                }
            }
        }
    }

    fn is_of_workloads(&self, at: usize) -> bool {
        matches!(self.config.outputs[at].content, Content::Svid(_) | Content::WorkloadApi(_))
    }

    /// Whom to trust for workloads, if one of these outputs is about them.
    async fn workload_trust(&self, outputs: &[usize]) -> Option<WorkloadTrust> {
        let asks = outputs.iter().any(|at| self.is_of_workloads(*at));
        let member = self.member.as_ref().filter(|_| asks)?;
        let told = workload::trust(member.channel()).await;
        told.inspect_err(|error| tracing::warn!(%error, "the bundle for workloads is not known")).ok()
    }

    /// Whether the cluster is heard for an SSH server; where it is not, what the server keeps is good all the same.
    fn heard(&mut self, name: String, trouble: Option<String>) {
        let outputs = &self.config.outputs;
        let listed = outputs.iter().any(|output| {
            output.name == name && matches!(&output.content, Content::Sshd(sshd) if sshd.register)
        });
        let told = trouble.map_or(Ok(()), |trouble| Err(unheard(listed, &trouble)));
        match &told {
            Ok(()) if listed => {
                tracing::info!(
                    service = name,
                    "the SSH server is among the cluster's nodes and hears of locks"
                );
            }
            Ok(()) => tracing::info!(service = name, "the SSH server hears of locks"),
            Err(trouble) => tracing::warn!(service = name, "{trouble}"),
        }
        match &told {
            Ok(()) => _ = self.unheard.remove(&name),
            Err(trouble) => _ = self.unheard.insert(name.clone(), trouble.clone()),
        }
        self.health.hooked(&name, told);
    }

    /// What the cluster said of one SSH server. Gives whether it is in force.
    async fn server(&mut self, name: &str, state: &SshServerState) -> bool {
        let found = self.config.outputs.iter().position(|output| output.name == name);
        // The service is gone, and with it whom this was for.
        let Some(at) = found else { return true };
        let method = &self.config.onboarding.method;
        let Some(server) = sshd::Server::of(&self.config.outputs[at], method) else { return true };
        let applied = match server.apply(state, Timestamp::now()).await {
            Ok(_) => Ok(server.is_signed_by_another(state).unwrap_or_else(|error| {
                tracing::warn!(service = name, %error, "the certificate stays as it is");
                false
            })),
            Err(error) => Err(error),
        };
        match applied {
            Ok(is_behind) => {
                if is_behind {
                    tracing::info!(
                        service = name,
                        "another authority signs hosts now; asking for a certificate of that one"
                    );
                    let now = self.now();
                    self.outputs[at].hurry_within(now, between_zero_and(SPREAD));
                }
                true
            }
            Err(error) => {
                let now = self.now();
                let left = failure(&error, self.health.expires(name), now);
                let Retry { pause, .. } = self.outputs[at].failed(now, left, random());
                self.health.failed(name, &error, self.outputs[at].due_at());
                tracing::error!(
                    service = name, %error, retry_in = ?pause, "what the cluster locks is not in force at sshd"
                );
                false
            }
        }
    }
}

/// Why locks are not heard of, beside whatever else there is.
fn unheard(listed: bool, trouble: &str) -> String {
    let beside = if listed { "is not among the cluster's nodes, and " } else { "" };
    format!("the server {beside}does not hear of locks: {trouble}")
}

#[cfg(test)]
mod tests {
    use super::Agent;
    use crate::config::{Config, StartFlags, load};
    use crate::health::Health;
    use std::path::Path;

    fn config(scratch: &Path, register: bool) -> Config {
        let scratch = scratch.display();
        let text = format!(
            "version: v2\nproxy_server: p:1\nonboarding: {{token: x}}\nstorage: {scratch}/s\nservices:\n- {{type: sshd, name: sshd, \
             destination: {scratch}/h, sshd: {{register: {register}, reload: {{pid_file: /run/sshd.pid}}}}}}\n"
        );
        load("tbot.yaml", &text, &StartFlags::default()).expect("read").0
    }

    /// The streams begin anew with each configuration, and tell of their trouble anew.
    #[test]
    fn trouble_of_a_stream_ends_with_it() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        for register in [true, false] {
            let health = Health::default();
            let mut agent = Agent::open(config(scratch.path(), true), health.clone()).expect("opens");
            let trouble =
                || health.services().into_iter().find(|service| service.name == "sshd")?.hook_problem;
            agent.heard("sshd".to_owned(), Some("no rule".to_owned()));
            assert!(trouble().is_some_and(|told| told.contains("no rule")));
            agent.reconfigure(config(scratch.path(), register));
            assert_eq!(trouble(), None);
            assert!(agent.unheard.is_empty());
        }
    }
}
