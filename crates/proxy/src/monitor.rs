//! Watches over a live relay: it ends when a lock hits the caller, or with the caller's certificate where the cluster
//! wants that.

use std::time::Duration;

use access::resource::cluster::LockingMode;
use access::{HostId, Login};
use jiff::Timestamp;

use crate::caller::Caller;
use crate::denied::Denied;
use crate::dialer::{Dialer, View};

/// Timers are cut into these, because they do not notice a clock that is set.
const STEP: Duration = Duration::from_secs(30);
/// What the node has to end a connection by itself, which tells the user why; it goes by the same policy.
const NODE_FIRST: Duration = Duration::from_millis(600);

impl Dialer {
    /// Resolves soon after what the caller was let in by is no longer so, with the reason. Policy that arrives is looked
    /// at at once; then the node has the first word.
    pub(crate) async fn revoked(
        &self,
        caller: &Caller,
        login: Option<&Login>,
        node: Option<HostId>,
    ) -> Denied {
        let denied = self.lapsed(caller, login, node).await;
        tokio::time::sleep(NODE_FIRST).await;
        self.metrics.cut(denied.code);
        denied
    }

    async fn lapsed(&self, caller: &Caller, login: Option<&Login>, node: Option<HostId>) -> Denied {
        let mut policies = self.agent.policy();
        loop {
            let policy = policies.current();
            let now = Timestamp::now();
            let view = View { policy: &policy, silence: self.agent.silence(), cluster: self.agent.cluster() };
            if let Err(denied) = view.standing(caller, login, node, now) {
                return denied;
            }
            let mut wait = None;
            if policy.auth_preference.disconnect_expired_cert {
                let left = caller.valid_before().duration_since(now);
                if !left.is_positive() {
                    let reason = format!("your certificate expired at {}", caller.valid_before());
                    return Denied::new("certificate_expired", reason, "get a new one and connect again");
                }
                wait = Some(Duration::try_from(left).unwrap_or_default().min(STEP));
            }
            if policy.auth_preference.locking_mode == LockingMode::Strict {
                wait = Some(wait.unwrap_or(STEP).min(STEP));
            }
            tokio::select! {
                changed = policies.changed() => if changed.is_none() { std::future::pending::<()>().await },
                () = sleep(wait) => {}
            }
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
