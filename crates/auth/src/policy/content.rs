//! What a policy says, apart from when.

use crate::catalog::View;
use access::rbac::lock::is_in_force;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::resource::{Lock, Role};
use identity::TrustBundle;
use identity::policy::Policy;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Revision;

/// Everything in a policy beside its revision and time: two policies with the same content decide alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    trust: Arc<TrustBundle>,
    roles: BTreeMap<String, Arc<Role>>,
    locks: BTreeMap<String, Arc<Lock>>,
    networking: NetworkingSpec,
    recording: RecordingSpec,
    auth_preference: AuthPreferenceSpec,
}

impl Content {
    /// From a view: its roles, those that follow from bots, and the locks that have not expired.
    pub fn of(view: &View, trust: Arc<TrustBundle>, now: Timestamp) -> Self {
        let of_bots = view.bots.values().map(|bot| Arc::new(access::bot::role_of(&bot.value)));
        let mut roles: BTreeMap<String, Arc<Role>> =
            of_bots.map(|role| (role.name.to_string(), role)).collect();
        // A stored role comes before a derived one, as it does where auth itself decides.
        roles.extend(view.roles.iter().map(|(name, role)| (name.clone(), role.value.clone())));
        let locks = view.locks.iter().filter(|(_, lock)| is_in_force(&lock.value, now));
        Self {
            trust,
            roles,
            locks: locks.map(|(name, lock)| (name.clone(), lock.value.clone())).collect(),
            networking: view.networking.as_ref().map(|found| found.value.spec.clone()).unwrap_or_default(),
            recording: view.recording.as_ref().map(|found| found.value.spec.clone()).unwrap_or_default(),
            auth_preference: view
                .auth_preference
                .as_ref()
                .map(|found| found.value.spec.clone())
                .unwrap_or_default(),
        }
    }

    /// The revision of a policy of this content made from a view of that revision.
    pub fn revision(&self, view: Revision) -> i64 {
        view.number().max(self.trust.revision)
    }

    /// The policy.
    pub fn policy(&self, revision: i64, issued_at: Timestamp) -> Policy {
        let Self { trust, roles, locks, networking, recording, auth_preference } = self;
        Policy {
            cluster: trust.cluster.clone(),
            revision,
            issued_at,
            trust: TrustBundle::clone(trust),
            roles: roles.values().map(|role| Role::clone(role)).collect(),
            locks: locks.values().map(|lock| Lock::clone(lock)).collect(),
            networking: networking.clone(),
            recording: recording.clone(),
            auth_preference: auth_preference.clone(),
        }
    }
}
