//! Watches over a live connection: the end of its certificate, silence, locks, and roles that have changed.

use std::time::Duration;

use access::rbac::ssh::SshPermit;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Context, Cut};
use crate::decision::Admission;

/// Looks are never further apart, because clocks can be set.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Where locking is strict: the view of locks grows old by itself, without any news.
const STRICT_LOOK: Duration = Duration::from_secs(1);
/// And never closer, whatever the figures say.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);

/// Returns when the connection must end, and why.
pub(super) async fn verdict(context: &Context) -> Cut {
    let shared = &context.shared;
    let mut policy = shared.policies.clone();
    let mut labels = shared.labels.clone();
    let mut seen = true;
    loop {
        // Compiling roles anew costs more than the rest, so only when something is new, or may have become old.
        let admission = context.admission();
        if seen || strict(admission.permit()) {
            match shared.with_view(|view| admission.again(view)) {
                Ok(admission) => context.renew(admission),
                Err(refused) => return Cut { code: refused.code, words: refused.words() },
            }
        }
        let look = match time(&context.admission(), context) {
            Ok(look) => look,
            Err(cut) => return cut,
        };
        seen = tokio::select! {
            () = tokio::time::sleep(look) => false,
            () = news(&mut policy) => true,
            () = news(&mut labels) => true,
            () = shared.stop.cancelled() => return stopping(),
        };
    }
}

/// Waits for a change; where none can come any more, such as of labels without commands, for ever.
async fn news<T>(followed: &mut watch::Receiver<T>) {
    if followed.changed().await.is_err() {
        std::future::pending().await
    }
}

/// When the node goes down.
pub(super) fn stopping() -> Cut {
    Cut {
        code: "node_stopping",
        words: "this node is stopping; connect again later (node_stopping)".to_owned(),
    }
}

fn strict(permit: &SshPermit) -> bool {
    permit.options().locking_mode() == access::resource::cluster::LockingMode::Strict
}

/// Until when to sleep, or why it is over.
fn time(admission: &Admission, context: &Context) -> Result<Duration, Cut> {
    let mut look = if strict(admission.permit()) { STRICT_LOOK } else { LONGEST_LOOK };
    if let Some(deadline) = admission.deadline() {
        let left = deadline.duration_since(Timestamp::now());
        if !left.is_positive() {
            let words = format!("client certificate expired at {deadline} (certificate_expired)");
            return Err(Cut { code: "certificate_expired", words });
        }
        look = look.min(left.unsigned_abs());
    }
    if let Some(limit) = admission.permit().options().idle_timeout() {
        let idle = context.handle.idle();
        if idle >= limit {
            return Err(Cut { code: "idle_timeout", words: idle_words(limit, context) });
        }
        look = look.min(limit.saturating_sub(idle));
    }
    Ok(look.max(SHORTEST_LOOK))
}

fn idle_words(limit: Duration, context: &Context) -> String {
    let policy = context.shared.policy();
    match policy.networking.client_idle_timeout_message.as_str() {
        "" => format!("Client exceeded idle timeout of {} (idle_timeout)", access::Ttl(limit)),
        message => message.to_owned(),
    }
}
