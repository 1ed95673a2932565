//! The policy in force at this host: signed, remembered across restarts, replaced only by a newer one.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::policy::{self, Policy};
use identity::trust::TrustBundle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use transport::LiveCredentials;

use crate::state::{StateDir, StateError};

const FILE: &str = "policy.json";

/// Follows the policy. There always is one: an agent does not start without.
#[derive(Debug, Clone)]
pub struct PolicyView {
    policy: watch::Receiver<Option<Arc<Policy>>>,
}

impl PolicyView {
    /// The policy now.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        self.policy.borrow().clone().expect("a view is only handed out once there is a policy")
    }

    /// Waits for a newer one and returns it; nothing when the agent has stopped.
    pub async fn changed(&mut self) -> Option<Arc<Policy>> {
        self.policy.changed().await.ok()?;
        self.policy.borrow_and_update().clone()
    }
}

/// Keeps the policy.
#[derive(Debug)]
pub(crate) struct Keeper {
    state: StateDir,
    credentials: LiveCredentials,
    policy: watch::Sender<Option<Arc<Policy>>>,
}

/// As it is remembered.
#[derive(Serialize, Deserialize)]
struct Remembered {
    payload: String,
    signature: String,
}

/// What became of a policy that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In force.
    Applied(i64),
    /// The one in force is as new.
    Kept(i64),
    /// Not one of ours.
    Refused,
}

impl Keeper {
    /// Starts with what was remembered, as far as it can still be verified.
    pub(crate) fn open(state: StateDir, credentials: LiveCredentials) -> Result<Self, StateError> {
        let keeper = Self { state, credentials, policy: watch::Sender::new(None) };
        let Some(bytes) = keeper.state.read(FILE)? else { return Ok(keeper) };
        let remembered = serde_json::from_slice::<Remembered>(&bytes).ok().and_then(|remembered| {
            let decode = |text: &str| STANDARD.decode(text).ok();
            Some((decode(&remembered.payload)?, decode(&remembered.signature)?))
        });
        let opened = remembered.and_then(|(payload, signature)| keeper.open_signed(&payload, &signature));
        match opened {
            Some(policy) => keeper.put(policy),
            None => tracing::warn!("the remembered policy cannot be verified; waiting for one from auth"),
        }
        Ok(keeper)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Policy>>> {
        self.policy.subscribe()
    }

    pub(crate) fn view(&self) -> PolicyView {
        PolicyView { policy: self.policy.subscribe() }
    }

    /// Verifies a policy from auth, remembers it and puts it in force.
    pub(crate) fn take(&self, payload: &[u8], signature: &[u8]) -> Verdict {
        let Some(policy) = self.open_signed(payload, signature) else { return Verdict::Refused };
        let old = self.policy.borrow().clone();
        if let Some(old) = old.filter(|old| !is_newer(&policy, old)) {
            return Verdict::Kept(old.revision);
        }
        let remembered =
            Remembered { payload: STANDARD.encode(payload), signature: STANDARD.encode(signature) };
        let bytes = serde_json::to_vec(&remembered).unwrap_or_default();
        if let Err(error) = self.state.write(FILE, &bytes) {
            // A lock must act even when the disk is full; only the next restart would not know of it.
            tracing::error!(%error, "the policy cannot be remembered; it is in force until a restart");
        }
        let revision = policy.revision;
        self.put(policy);
        Verdict::Applied(revision)
    }

    fn put(&self, policy: Policy) {
        self.credentials.update_trust(policy.trust.clone());
        self.policy.send_replace(Some(Arc::new(policy)));
    }

    fn open_signed(&self, payload: &[u8], signature: &[u8]) -> Option<Policy> {
        let current = self.credentials.current()?;
        let trust: &TrustBundle = current.trust();
        match policy::open(payload, signature, trust) {
            Ok(policy) => Some(policy),
            Err(error) => {
                tracing::warn!(%error, "a policy was refused");
                None
            }
        }
    }
}

/// By revision; a store that was restored from a backup counts from an earlier one, and is newer by its date.
fn is_newer(policy: &Policy, old: &Policy) -> bool {
    policy.revision > old.revision || policy.issued_at > old.issued_at
}
