//! Trust and policy, kept where the node cannot write.
//!
//! The first trust bundle is believed, as the host itself believes the cluster that it joins; from then on a policy counts
//! when a host authority of the trust in force signed it and it is newer, and brings the trust that follows. Who takes the
//! node over later can withhold a policy, and cannot make one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use access::{HostId, Labels};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::policy::{self, Policy};
use identity::trust::TrustBundle;
use serde::{Deserialize, Serialize};

use super::{Fatal, directory};
use crate::protocol::Start;

const FILE: &str = "trust.json";
/// How soon something is written again that could not be.
const AGAIN: Duration = Duration::from_secs(3);

pub(super) struct Keeper {
    directory: PathBuf,
    kept: Kept,
    /// When what could not be written is written again.
    unwritten: Option<Instant>,
    policy: Option<Policy>,
    labels: Labels,
    own_labels: Labels,
    label_commands: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The host that the trust was first taken for.
    host: Option<HostId>,
    /// By which the next policy is verified.
    trust: Option<TrustBundle>,
    policy: Option<Signed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    payload: String,
    signature: String,
    /// By which this one was verified.
    trust: TrustBundle,
}

impl Keeper {
    /// What an earlier run kept.
    pub(super) fn open(directory: &Path, start: &Start) -> Result<Self, Fatal> {
        let path = directory.join(FILE);
        let next = "; if this host is to trust whatever it joins next, remove the file";
        let failed = |reason: String| Fatal::File { path: path.clone(), reason: reason + next };
        let kept: Kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        if let Some(host) = kept.host.filter(|host| *host != start.host) {
            return Err(failed(format!("it is of the host {host}, and this one is now {}", start.host)));
        }
        let mut keeper = Self {
            directory: directory.to_owned(),
            kept,
            unwritten: None,
            policy: None,
            labels: start.labels.clone(),
            own_labels: start.labels.clone(),
            label_commands: start.label_commands.clone(),
        };
        keeper.kept.host = Some(start.host);
        keeper.policy = keeper.reopen().map_err(failed)?;
        Ok(keeper)
    }

    fn reopen(&self) -> Result<Option<Policy>, String> {
        let Some(Signed { payload, signature, trust }) = &self.kept.policy else { return Ok(None) };
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
        let opened = policy::open(&decode(payload)?, &decode(signature)?, trust);
        Ok(Some(opened.map_err(|error| error.to_string())?.policy))
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Takes the values of labels that come from commands; all others are not the node's to say.
    pub(super) fn set_labels(&mut self, found: BTreeMap<String, String>) {
        let mut labels = self.own_labels.clone();
        for (name, value) in found {
            if self.label_commands.contains(&name) {
                labels.0.entry(name).or_insert(value);
            }
        }
        self.labels = labels;
    }

    /// The first trust bundle; another one is not looked at.
    pub(super) fn trust_first(&mut self, bundle: &[u8]) -> Result<i64, String> {
        if let Some(trust) = &self.kept.trust {
            return Ok(trust.revision);
        }
        let bundle: TrustBundle = serde_json::from_slice(bundle).map_err(|error| error.to_string())?;
        let revision = bundle.revision;
        self.kept.trust = Some(bundle);
        eprintln!(
            "session-launcher: the cluster is trusted from now on, by its bundle of revision {revision}"
        );
        self.write();
        Ok(revision)
    }

    /// Puts a policy in force, or says why not. The one in force stays when this one is not newer.
    pub(super) fn take(&mut self, payload: &[u8], signature: &[u8]) -> Result<i64, String> {
        let trust = self.kept.trust.as_ref().ok_or("there is no trust to verify a policy by")?;
        let opened = policy::open(payload, signature, trust).map_err(|error| {
            let file = self.directory.join(FILE);
            format!("{error}; if this host joined another cluster, remove {} and restart", file.display())
        })?;
        let policy = opened.policy;
        if let Some(old) = self.policy.as_ref().filter(|old| !is_newer(&policy, old)) {
            let is_same = (policy.revision, policy.issued_at) == (old.revision, old.issued_at);
            return if is_same { Ok(old.revision) } else { Err(older(&policy, old)) };
        }
        let (payload, signature) = (STANDARD.encode(payload), STANDARD.encode(signature));
        self.kept.policy = Some(Signed { payload, signature, trust: trust.clone() });
        self.kept.trust = Some(policy.trust.clone());
        self.write();
        let revision = policy.revision;
        self.policy = Some(policy);
        Ok(revision)
    }

    /// When there is something to write again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unwritten
    }

    /// Writes what could not be written before, if it is time for that.
    pub(super) fn write_again(&mut self) {
        if self.unwritten.is_some_and(|at| at <= Instant::now()) {
            self.write();
        }
    }

    /// A lock must act even when the disk is full; only a restart before this succeeds would not know of it.
    fn write(&mut self) {
        let bytes = serde_json::to_vec(&self.kept).map_err(io::Error::from);
        let outcome = bytes.and_then(|bytes| directory::replace(&self.directory, FILE, &bytes));
        let was_unwritten = self.unwritten.take().is_some();
        match outcome {
            Ok(()) if was_unwritten => eprintln!("session-launcher: trust and policy are kept again"),
            Ok(()) => {}
            Err(error) => {
                self.unwritten = Some(Instant::now() + AGAIN);
                if !was_unwritten {
                    eprintln!(
                        "session-launcher: trust and policy cannot be kept: {error}; they are in force, and it is tried again"
                    );
                }
            }
        }
    }
}

/// By date, and of one date by revision: a store that was restored from a backup counts from an earlier revision, and what it
/// had said before does not come back.
fn is_newer(policy: &Policy, old: &Policy) -> bool {
    (policy.issued_at, policy.revision) > (old.issued_at, old.revision)
}

fn older(policy: &Policy, old: &Policy) -> String {
    format!(
        "revision {} of {} is older than {} of {}, in force",
        policy.revision, policy.issued_at, old.revision, old.issued_at
    )
}
