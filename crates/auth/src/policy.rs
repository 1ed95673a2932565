//! The policy that nodes and proxies decide by: made from the view, signed once for all of them, and made anew when
//! anything in it changes.
//!
//! A lock goes out at once, and so does a change after a quiet moment: who creates a role and uses it in the next line
//! of a script must find it in force. Changes that follow at its heels wait for each other, because an administrator who
//! applies a file changes many things. Without any change it is issued again every few minutes, so that a host can tell a quiet
//! cluster from a lost one.

mod content;

pub use content::Content;

use crate::catalog::View;
use crate::core::Core;
use api::v1;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A policy that was issued.
#[derive(Debug)]
pub struct Issued {
    /// From what it was made; may be the same for several, of which the newest counts.
    pub revision: i64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The document and its signature.
    pub message: v1::SignedPolicy,
}

/// How long things wait.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The least time between two policies that differ by no lock.
    pub gather: Duration,
    /// After this time it is issued again without a change.
    pub reissue: Duration,
    /// After a failure.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(100),
            reissue: Duration::from_secs(120),
            retry: Duration::from_secs(5),
        }
    }
}

/// The least by which a policy is issued later than the one before, whatever the clock says.
const LATER: SignedDuration = SignedDuration::from_millis(1);

/// The policy in force.
#[derive(Debug, Default)]
pub struct Policies {
    current: watch::Sender<Option<Arc<Issued>>>,
}

impl Policies {
    /// The policy in force, and each that follows. There is none until [`Policies::follow`] has made the first.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Issued>>> {
        self.current.subscribe()
    }

    /// The policy in force.
    pub fn current(&self) -> Option<Arc<Issued>> {
        self.current.borrow().clone()
    }

    /// Issues the policies of `core`, whose part this is, until told to stop.
    pub async fn follow(core: Arc<Core>, pace: Pace, stop: CancellationToken) {
        let mut changes = core.catalog.changes();
        let mut trust = core.issuer.trust_changes();
        let mut maker = Maker { core: &core, pace, last: None };
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(due) => {
                    due = Instant::now() + maker.issue();
                    continue;
                }
                changed = changes.changed() => if changed.is_err() { return },
                changed = trust.changed() => if changed.is_err() { return },
            }
            due = due.min(Instant::now() + maker.wait_for(&core.catalog.view()));
        }
    }
}

/// What the last policy was made of.
struct Maker<'a> {
    core: &'a Core,
    pace: Pace,
    last: Option<(Content, Arc<View>, Instant)>,
}

impl Maker<'_> {
    /// How long to wait before a change of the view is looked at.
    fn wait_for(&self, view: &View) -> Duration {
        match &self.last {
            Some((_, last, at)) if Arc::ptr_eq(&last.locks, &view.locks) => {
                self.pace.gather.saturating_sub(at.elapsed())
            }
            _ => Duration::ZERO,
        }
    }

    /// Issues a policy if the last one is old or would be different, and tells when to look again.
    fn issue(&mut self) -> Duration {
        let Core { catalog, issuer, policies, .. } = self.core;
        let (view, now) = (catalog.view(), catalog.now());
        if let Err(damaged) = view.intact() {
            tracing::error!(%damaged, "no new policy is issued while something cannot be read");
            return self.pace.retry;
        }
        let content = Content::of(&view, issuer.trust(), now);
        if let Some((last, seen, at)) = &mut self.last
            && *last == content
            && at.elapsed() < self.pace.reissue
        {
            *seen = view;
            return self.pace.reissue.saturating_sub(at.elapsed());
        }
        let before = policies.current().map_or(0, |issued| issued.revision);
        let revision = content.revision(view.revision).max(before);
        let issued_at = later(now, policies.current().map(|issued| issued.issued_at));
        let payload = content.policy(revision, issued_at).to_json();
        if payload.len() > identity::policy::MAX_LENGTH {
            tracing::error!(
                bytes = payload.len(),
                "the policy is too large to be read; remove roles or locks"
            );
            return self.pace.retry;
        }
        let signature = match issuer.sign_policy(&payload) {
            Ok(signature) => signature,
            Err(problem) => {
                tracing::error!(%problem, "the policy could not be signed; trying again");
                return self.pace.retry;
            }
        };
        let message = v1::SignedPolicy { payload, signature };
        policies.current.send_replace(Some(Arc::new(Issued { revision, issued_at, message })));
        self.last = Some((content, view, Instant::now()));
        self.pace.reissue
    }
}

/// Dates that never go back: hosts take no policy that is older than theirs, and the clock may be set back.
fn later(now: Timestamp, last: Option<Timestamp>) -> Timestamp {
    let least = last.and_then(|last| last.checked_add(LATER).ok());
    least.map_or(now, |least| now.max(least))
}

#[cfg(test)]
mod tests {
    use super::later;
    use jiff::Timestamp;

    #[test]
    fn a_clock_that_is_set_back_dates_no_policy_before_the_last() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(later(at(10), None), at(10));
        assert_eq!(later(at(11), Some(at(10))), at(11));
        for now in [10, 3] {
            let dated = later(at(now), Some(at(10)));
            assert!(dated > at(10) && dated < at(11), "{dated}");
        }
    }
}
