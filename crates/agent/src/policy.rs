//! The policy in force at this host: signed, remembered across restarts, replaced only by a newer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::policy::{self, Opened, Policy, Signed};
use identity::trust::TrustBundle;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use transport::LiveCredentials;
use transport::health::ServiceHealth;

use crate::state::{StateDir, StateError};

const FILE: &str = "policy.json";
/// Between two attempts to write what could not be written.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows the policy. There always is one: an agent does not start without.
#[derive(Debug, Clone)]
pub struct PolicyView {
    policy: watch::Receiver<Option<Arc<Signed>>>,
}

impl PolicyView {
    /// The policy now.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        Arc::clone(&self.signed().policy)
    }

    /// The same, for somebody who verifies it again.
    #[must_use]
    pub fn signed(&self) -> Arc<Signed> {
        self.policy.borrow().clone().expect("a view is only handed out once there is a policy")
    }

    /// Waits for a newer one and returns it; nothing when the agent has stopped.
    pub async fn changed(&mut self) -> Option<Arc<Policy>> {
        self.changed_signed().await.map(|signed| Arc::clone(&signed.policy))
    }

    /// The same, for somebody who verifies it again.
    pub async fn changed_signed(&mut self) -> Option<Arc<Signed>> {
        self.policy.changed().await.ok()?;
        self.policy.borrow_and_update().clone()
    }
}

/// Keeps the policy.
#[derive(Debug)]
pub(crate) struct Keeper {
    state: StateDir,
    credentials: LiveCredentials,
    policy: watch::Sender<Option<Arc<Signed>>>,
    health: ServiceHealth,
    /// Whether the policy in force is not the one on disk.
    unwritten: AtomicBool,
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
    pub(crate) fn open(
        state: StateDir,
        credentials: LiveCredentials,
        health: ServiceHealth,
    ) -> Result<Self, StateError> {
        let (policy, unwritten) = (watch::Sender::new(None), AtomicBool::new(false));
        let keeper = Self { state, credentials, policy, health, unwritten };
        match keeper.remembered() {
            Ok(None) => {}
            Ok(Some(policy)) => keeper.put(policy),
            Err(error) => tracing::warn!(
                %error,
                "the remembered policy cannot be used; nobody is let in until auth has sent one, which replaces the \
                 file; nothing to do but to see that auth is reached"
            ),
        }
        Ok(keeper)
    }

    fn remembered(&self) -> Result<Option<Signed>, StateError> {
        let wrong = |reason: String| StateError::new(&self.state.path(FILE), reason);
        let Some(bytes) = self.state.read(FILE)? else { return Ok(None) };
        let damaged = |error: &dyn std::fmt::Display| wrong(format!("it is damaged ({error})"));
        let kept: Remembered = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| damaged(&error));
        let (payload, signature) = (decode(&kept.payload)?, decode(&kept.signature)?);
        let current =
            self.credentials.current().ok_or_else(|| wrong("there are no credentials".to_owned()))?;
        let opened = policy::open(&payload, &signature, current.trust());
        let policy = Arc::new(understood(opened.map_err(|error| wrong(error.to_string()))?));
        Ok(Some(Signed { policy, payload, signature }))
    }

    /// How long ago auth issued the policy in force; nothing without one. A policy from the future is new.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        let policy = self.policy.borrow();
        let age = policy.as_ref().map(|signed| now.duration_since(signed.policy.issued_at));
        age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.policy.borrow().is_some()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Signed>>> {
        self.policy.subscribe()
    }

    pub(crate) fn view(&self) -> PolicyView {
        PolicyView { policy: self.policy.subscribe() }
    }

    /// Verifies a policy from auth, remembers it and puts it in force.
    pub(crate) fn take(&self, payload: &[u8], signature: &[u8]) -> Verdict {
        let Some(policy) = self.open_signed(payload, signature) else { return Verdict::Refused };
        let old = self.policy.borrow().as_ref().map(|signed| Arc::clone(&signed.policy));
        let old_revision = old.as_ref().map(|old| old.revision);
        if let Some(old) = old.filter(|old| !is_newer(&policy, old)) {
            if policy.revision > old.revision {
                tracing::warn!(
                    revision = policy.revision, issued_at = %policy.issued_at, in_force = %old.issued_at,
                    "a policy was issued before the one in force and is not taken: it is an old one, or auth's clock was \
                     set back"
                );
            }
            return Verdict::Kept(old.revision);
        }
        // A lock must act even when the disk is full; only the next restart would not know of it.
        self.remember(payload, signature);
        let revision = policy.revision;
        // Newer by its date alone: the store counts from an earlier revision, and so does its trust.
        if old_revision.is_some_and(|old| old > revision) {
            self.credentials.replace_trust(policy.trust.clone());
        }
        let (payload, signature) = (payload.to_vec(), signature.to_vec());
        self.put(Signed { policy: Arc::new(policy), payload, signature });
        Verdict::Applied(revision)
    }

    /// Tries again to write what could not be written, for ever.
    pub(crate) async fn keep_remembering(self: Arc<Self>) {
        loop {
            tokio::time::sleep(AGAIN).await;
            let current = self.policy.borrow().clone();
            if let Some(signed) = current.filter(|_| self.unwritten.load(Ordering::Relaxed)) {
                self.remember(&signed.payload, &signed.signature);
            }
        }
    }

    fn remember(&self, payload: &[u8], signature: &[u8]) {
        let remembered =
            Remembered { payload: STANDARD.encode(payload), signature: STANDARD.encode(signature) };
        let bytes = serde_json::to_vec(&remembered).unwrap_or_default();
        let written = self.state.write(FILE, &bytes);
        self.unwritten.store(written.is_err(), Ordering::Relaxed);
        let complaint = written.err().map(|error| {
            format!("the policy cannot be written and would be forgotten at a restart, newer locks with it: {error}")
        });
        self.health.part("policy", complaint);
    }

    fn put(&self, signed: Signed) {
        self.credentials.update_trust(signed.policy.trust.clone());
        self.policy.send_replace(Some(Arc::new(signed)));
    }

    fn open_signed(&self, payload: &[u8], signature: &[u8]) -> Option<Policy> {
        let current = self.credentials.current()?;
        let trust: &TrustBundle = current.trust();
        match policy::open(payload, signature, trust) {
            Ok(opened) => Some(understood(opened)),
            Err(error) => {
                tracing::warn!(%error, "a policy was refused");
                None
            }
        }
    }
}

/// The policy, after saying what of it is not in force.
fn understood(opened: Opened) -> Policy {
    for role in opened.left_out {
        tracing::warn!(
            ?role,
            "auth is newer and says something in this role that is not known here; whoever has the role is refused on \
             this host until this service is upgraded"
        );
    }
    opened.policy
}

/// Never by its revision alone: a store that was restored from a backup counts from an earlier one and is newer by its date,
/// and from then on what was signed before has the later revision. Auth's dates never go back.
fn is_newer(policy: &Policy, old: &Policy) -> bool {
    policy.issued_at >= old.issued_at && (policy.revision > old.revision || policy.issued_at > old.issued_at)
}

#[cfg(test)]
mod tests {
    use super::{FILE, Keeper, Verdict};
    use crate::state::StateDir;
    use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
    use access::{ClusterName, SystemRole};
    use aws_lc_rs::rand::SystemRandom;
    use ca::{Authorities, Order};
    use identity::key::SubjectKey;
    use identity::policy::Policy;
    use identity::{Credentials, HostIdentity, Identity, Subject};
    use jiff::Timestamp;
    use std::sync::Arc;
    use transport::LiveCredentials;
    use transport::health::{ServiceHealth, Status};

    fn health() -> ServiceHealth {
        ServiceHealth::new("node")
    }

    fn authorities() -> Authorities {
        let name = ClusterName::new("example.com").expect("a name");
        Authorities::generate(&name, Timestamp::now()).expect("authorities")
    }

    fn credentials(authorities: &Authorities) -> LiveCredentials {
        let rng = SystemRandom::new();
        let key = SubjectKey::generate(&rng).expect("a key");
        let id = "11111111-2222-4333-8444-555555555555".parse().expect("an id");
        let host = HostIdentity { id, role: SystemRole::Node, names: vec!["web-1".into()] };
        let identity = Identity { cluster: authorities.cluster().clone(), subject: Subject::Host(host) };
        let lifetime = std::time::Duration::from_secs(3600);
        let order = Order {
            identity: &identity,
            public_key: key.public(),
            ssh_public_key: None,
            lifetime,
            extra: &[],
        };
        let issued = authorities.issue(&order, Timestamp::now(), &rng).expect("issued");
        let trust = authorities.trust_bundle(1);
        let made = Credentials::new(key, issued.ssh, issued.tls_chain, trust).expect("credentials");
        LiveCredentials::new(made).expect("usable")
    }

    fn signed(by: &Authorities, revision: i64, age: i64) -> (Vec<u8>, Vec<u8>) {
        let policy = Policy {
            cluster: by.cluster().clone(),
            revision,
            issued_at: Timestamp::from_second(1_790_000_000 - age).expect("a time"),
            trust: by.trust_bundle(revision),
            roles: Vec::new(),
            locks: Vec::new(),
            networking: NetworkingSpec::default(),
            recording: RecordingSpec::default(),
            auth_preference: AuthPreferenceSpec::default(),
        };
        let payload = policy.to_json();
        let signature = by.sign_policy(&payload).expect("signed");
        (payload, signature)
    }

    #[test]
    fn only_newer_policies_of_this_cluster_come_into_force_and_they_survive_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(directory.path(), SystemRole::Node).expect("opens");
        let (ours, other) = (authorities(), authorities());
        let live = credentials(&ours);
        let keeper = Keeper::open(state.clone(), live.clone(), health()).expect("opens");
        assert!(keeper.subscribe().borrow().is_none());
        let take = |(payload, signature): (Vec<u8>, Vec<u8>)| keeper.take(&payload, &signature);
        assert_eq!(take(signed(&ours, 5, 100)), Verdict::Applied(5));
        assert_eq!(take(signed(&ours, 5, 100)), Verdict::Kept(5), "again");
        assert_eq!(take(signed(&ours, 4, 200)), Verdict::Kept(5), "a replay");
        assert_eq!(take(signed(&ours, 5, 90)), Verdict::Applied(5), "the same again, issued later");
        let now = Timestamp::from_second(1_790_000_000).expect("a time");
        assert_eq!(keeper.age(now).as_secs(), 90, "by which the view of locks is fresh");
        let reopened = Keeper::open(state.clone(), live.clone(), health()).expect("opens");
        assert_eq!(reopened.age(now).as_secs(), 90, "also after a restart");
        assert_eq!(take(signed(&other, 9, 0)), Verdict::Refused, "another cluster");
        let (mut payload, signature) = signed(&ours, 9, 0);
        payload.push(b' ');
        assert_eq!(take((payload, signature)), Verdict::Refused, "tampered");
        assert_eq!(take(signed(&ours, 6, 50)), Verdict::Applied(6));
        assert_eq!(take(signed(&ours, 2, 10)), Verdict::Applied(2), "a store restored from a backup");
        assert_eq!(live.current().expect("there").trust().revision, 2, "and its trust with it");
        assert_eq!(
            take(signed(&ours, 6, 50)),
            Verdict::Kept(2),
            "a replay of what was before the backup came back"
        );
        assert_eq!(take(signed(&ours, 3, 10)), Verdict::Applied(3), "two of one moment");
        assert_eq!(take(signed(&ours, 2, 9)), Verdict::Applied(2), "the store came back once more");

        let again = Keeper::open(state.clone(), live.clone(), health()).expect("opens");
        assert_eq!(again.view().current().revision, 2);
        state.write(FILE, b"{\"payload\":\"AA==\",\"signature\":\"AA==\"}").expect("written");
        let tampered = Keeper::open(state.clone(), live.clone(), health()).expect("opens");
        assert!(tampered.subscribe().borrow().is_none());
        assert_eq!(tampered.age(Timestamp::now()).as_secs(), 0);
        for damaged in [&b"{torn"[..], b"", b"{\"payload\":\"!\",\"signature\":\"\"}"] {
            state.write(FILE, damaged).expect("written");
            let keeper = Keeper::open(state.clone(), live.clone(), health()).expect("opens");
            let error = keeper.remembered().expect_err("damaged").to_string();
            assert!(error.contains(FILE) && error.contains("damaged"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_full_disk_did_not_take_is_written_when_it_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(directory.path(), SystemRole::Node).expect("opens");
        let ours = authorities();
        let (live, health) = (credentials(&ours), health());
        health.ready();
        let keeper = Arc::new(Keeper::open(state.clone(), live.clone(), health.clone()).expect("opens"));
        let _trying =
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(Arc::clone(&keeper).keep_remembering()));
        let revision = || {
            let again = Keeper::open(state.clone(), live.clone(), self::health()).expect("opens");
            again.subscribe().borrow().as_ref().map(|signed| signed.policy.revision)
        };
        let (payload, signature) = signed(&ours, 1, 100);
        assert_eq!(keeper.take(&payload, &signature), Verdict::Applied(1));
        // Where the draft would be there is something that it cannot replace.
        let obstacle = state.path(".policy.json.new");
        std::fs::create_dir(&obstacle).expect("made");
        let (payload, signature) = signed(&ours, 2, 50);
        assert_eq!(keeper.take(&payload, &signature), Verdict::Applied(2), "it is in force nevertheless");
        tokio::time::sleep(super::AGAIN * 3).await;
        let Status::Degraded(reason) = health.status() else { panic!("degraded") };
        assert!(reason.contains("forgotten at a restart") && reason.contains("policy.json"), "{reason}");
        assert_eq!((keeper.view().current().revision, revision()), (2, Some(1)));
        // Nothing new comes; the same comes again, and is no reason to write.
        std::fs::remove_dir(&obstacle).expect("removed");
        assert_eq!(keeper.take(&payload, &signature), Verdict::Kept(2));
        tokio::time::sleep(super::AGAIN * 2).await;
        assert_eq!((health.status(), revision()), (Status::Ready, Some(2)));
    }
}
