//! The SPIFFE Workload API: what the services of this agent hold, and the sockets at which workloads ask for it.
//!
//! A service's X.509-SVIDs are renewed by its schedule and pushed to whoever listens; JWT-SVIDs are asked for when a
//! workload wants one. Who asks is what the kernel says; which workload that is, the configuration says.

mod callers;
mod jwts;
mod server;

use super::AgentError;
use super::issue::{Given, Wish};
use super::member::Member;
use super::output::Fresh;
use super::refresh::Followed;
use super::workload::{self, Held, Terms};
use crate::config::{Output, WorkloadApi};
use api::spiffe::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use identity::svid::{WorkloadTrust, verify};
use jiff::Timestamp;
use jwts::Jwts;
use server::Workloads;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;
use transport::rpc::OpenServer;

/// Calls are small: an audience, a token.
const LARGEST_CALL: usize = 64 * 1024;

/// What one service holds at one time.
pub(super) struct Holding {
    /// What is configured.
    pub(super) api: WorkloadApi,
    /// One for each workload of it, in order.
    pub(super) held: Arc<[Held]>,
    pub(super) trust: Arc<WorkloadTrust>,
    pub(super) terms: Terms,
}

/// The channel to auth as the agent's identity in force, for what is asked between two renewals.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<Mutex<Option<Channel>>>);

impl Line {
    pub(super) fn channel(&self) -> Option<Channel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sockets of an agent.
#[derive(Default)]
pub struct Apis {
    line: Line,
    /// By the name of the service.
    open: HashMap<String, Open>,
}

/// A socket; closed with this value.
struct Open {
    listen: PathBuf,
    publish: watch::Sender<Option<Arc<Holding>>>,
    stop: CancellationToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Apis {
    /// The agent has a new identity.
    pub fn connect(&self, channel: Channel) {
        *self.line.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    }

    /// Closes the sockets of services that are no longer among `names`.
    pub fn keep(&mut self, names: &[&str]) {
        self.open.retain(|name, _| names.contains(&name.as_str()));
    }

    /// Opens the socket, if it is not yet. Gives what the service asks the cluster for: an X.509-SVID for each workload.
    pub fn wishes(&mut self, output: &Output, api: &WorkloadApi) -> Result<Vec<Wish>, AgentError> {
        if self.open.get(&output.name).is_some_and(|open| open.listen != api.listen) {
            self.open.remove(&output.name);
        }
        if !self.open.contains_key(&output.name) {
            let open = self.open(&api.listen)?;
            tracing::info!(service = output.name, socket = %api.listen.display(), "serving the SPIFFE Workload API");
            self.open.insert(output.name.clone(), open);
        }
        let terms = Terms::of(output);
        api.svids.iter().map(|served| terms.x509(&served.svid)).collect()
    }

    /// Pushes what the cluster gave to whoever listens.
    pub fn renewed(
        &self,
        member: &Member,
        output: &Output,
        api: &WorkloadApi,
        mut given: Given,
        now: Timestamp,
    ) -> Result<Fresh, AgentError> {
        let trust = given.workload_trust()?;
        let held = api.svids.iter().map(|served| workload::x509(&mut given, &served.svid, now));
        let held = held.collect::<Result<Arc<[Held]>, _>>()?;
        let expires = held.iter().map(|held| held.valid_before).min().unwrap_or(now);
        let whose = format!("the service {}", output.name);
        member.compare_life((&whose, workload::CAP), expires, output.certificate_ttl, now);
        let (svids, fresh) = (held.len(), Fresh { expires, trust: trust.revision });
        let (api, terms) = (api.clone(), Terms::of(output));
        self.publish(&output.name, Holding { api, held, trust, terms });
        tracing::info!(service = output.name, svids, %expires, "SVIDs renewed");
        Ok(fresh)
    }

    /// Pushes what is held already with another trust bundle, unless that does not cover all of it.
    pub fn trust(&self, output: &Output, trust: &WorkloadTrust, now: Timestamp) -> Followed {
        let holding = self.open.get(&output.name).and_then(|open| open.publish.borrow().clone());
        let Some(holding) = holding else { return Followed::Stale };
        if !holding.held.iter().all(|held| verify(&held.chain, trust, now).is_ok()) {
            return Followed::Stale;
        }
        if (&holding.trust.x509, &holding.trust.jwt) == (&trust.x509, &trust.jwt) {
            return Followed::AsBefore;
        }
        let Holding { api, held, trust: _, terms } = &*holding;
        let (api, held, terms) = (api.clone(), held.clone(), terms.clone());
        self.publish(&output.name, Holding { api, held, trust: Arc::new(trust.clone()), terms });
        Followed::Written
    }

    fn publish(&self, name: &str, holding: Holding) {
        if let Some(open) = self.open.get(name) {
            open.publish.send_replace(Some(Arc::new(holding)));
        }
    }

    fn open(&self, listen: &Path) -> Result<Open, AgentError> {
        let failed = |error: std::io::Error| AgentError::Socket { path: listen.to_owned(), error };
        refuse_exposed(listen).map_err(failed)?;
        let server = OpenServer::bind(listen).map_err(failed)?;
        let (publish, holding) = watch::channel(None);
        let stop = CancellationToken::new();
        let workloads = Workloads { holding, jwts: Arc::new(Jwts::new(self.line.clone())) };
        let service = SpiffeWorkloadApiServer::new(workloads).max_decoding_message_size(LARGEST_CALL);
        tokio::spawn(server.serve(Routes::new(service), stop.clone()));
        Ok(Open { listen: listen.to_owned(), publish, stop })
    }
}

/// Whoever may write to the directory could put a socket of their own in place of this one, and hand out identities.
pub fn refuse_exposed(listen: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let directory = listen.parent().unwrap_or(Path::new("/"));
    let found = std::fs::metadata(directory)?;
    let me = rustix::process::geteuid().as_raw();
    let foreign = found.uid() != me && found.uid() != 0;
    // Also a sticky one: whoever is first there would serve in our place.
    let open = found.mode() & 0o022 != 0;
    match foreign || open {
        true => Err(std::io::Error::other(format!(
            "others may replace what is in {} (owner uid {}, mode {:04o}); choose a directory that only uid {me} or root \
             writes to",
            directory.display(),
            found.uid(),
            found.mode() & 0o7777
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::refuse_exposed;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let above = tempfile::tempdir().expect("a directory");
        let directory = above.path().join("run");
        std::fs::create_dir(&directory).expect("made");
        let socket = directory.join("s");
        for (mode, fits) in [(0o755, true), (0o700, true), (0o777, false), (0o775, false), (0o1777, false)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&directory, permissions).expect("changed");
            assert_eq!(refuse_exposed(&socket).is_ok(), fits, "{mode:o}");
        }
        assert!(refuse_exposed(&above.path().join("none/s")).is_err());
    }
}
