//! What all connections of a node have in common.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use access::{Labels, UserName};
use identity::policy::Policy;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::allowance::Allowance;
use crate::audit::Event;
use crate::config::Config;
use crate::decision::View;
use crate::host::Host;
use crate::launcher::Launches;
use crate::metrics::Metrics;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) host: Host,
    pub(crate) labels: watch::Receiver<Labels>,
    pub(crate) metrics: Metrics,
    pub(crate) users: Users,
    /// How fast all sessions together report operations on files.
    pub(crate) file_records: Mutex<Allowance>,
    pub(crate) launcher: Launches,
    /// The policy in force: no newer than the launcher's.
    pub(crate) policies: watch::Receiver<Arc<Policy>>,
    /// Why the launcher does not decide by the newest policy, if it does not.
    pub(crate) refused_policy: Mutex<Option<String>>,
    /// Nothing new is taken any more.
    pub(crate) draining: CancellationToken,
    /// Everything ends now.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Asks with the view of this moment.
    pub(crate) fn with_view<T>(&self, ask: impl FnOnce(&View<'_>) -> T) -> T {
        let policy = self.policy();
        let labels = self.labels.borrow().clone();
        ask(&View {
            policy: &policy,
            labels: &labels,
            host: self.host.id,
            now: Timestamp::now(),
            locks_fresh: self.locks_fresh(),
        })
    }

    /// The policy of this moment.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policies.borrow())
    }

    /// Whether auth was heard of lately enough for locks to be relied on.
    pub(crate) fn locks_fresh(&self) -> bool {
        (self.host.silence)() <= self.config.limits.lock_age
    }

    /// Reports an event, with what says where it happened.
    pub(crate) fn emit(&self, event: Event) {
        let event = event
            .with("server_id", self.host.id.to_string())
            .with("server_hostname", self.config.nodename.as_str())
            .with("server_version", env!("CARGO_PKG_VERSION"))
            .labels(&self.labels.borrow());
        (self.host.audit)(event.fields());
    }
}

/// How many connections each user has on this node.
#[derive(Debug, Default)]
pub(crate) struct Users(Arc<Mutex<HashMap<UserName, u32>>>);

/// Counts as one connection of a user until it is dropped.
#[derive(Debug)]
pub(crate) struct UserSlot {
    user: UserName,
    counts: Arc<Mutex<HashMap<UserName, u32>>>,
}

impl Users {
    /// One more, or none when there are already as many as may be.
    pub(crate) fn enter(&self, user: &UserName, limit: Option<u32>) -> Option<UserSlot> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user.clone()).or_default();
        if limit.is_some_and(|limit| *count >= limit) {
            return None;
        }
        *count += 1;
        Some(UserSlot { user: user.clone(), counts: Arc::clone(&self.0) })
    }
}

impl Drop for UserSlot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get_mut(&self.user).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            counts.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{UserName, Users};

    #[test]
    fn connections_are_counted_by_user_and_let_go() {
        let users = Users::default();
        let (alice, bob) = (UserName::new("alice").expect("a name"), UserName::new("bob").expect("a name"));
        let first = users.enter(&alice, Some(1)).expect("room");
        assert!(users.enter(&alice, Some(1)).is_none());
        assert!(users.enter(&bob, Some(1)).is_some());
        drop(first);
        assert!(users.enter(&alice, Some(1)).is_some());
        assert!(users.0.lock().expect("a lock").is_empty());
    }
}
