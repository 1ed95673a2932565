//! Refused attempts to join, for `tctl join explain`: what was asked of each joiner and what it showed. In memory, bounded,
//! for a day; the audit log has the reason for longer.

use api::v1::{ExplainJoinResponse, JoinCheck};
use jiff::{SignedDuration, Timestamp};
use join::oidc::Check;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long one is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// The most in all, and from one address: a stranger forgets its own, not those of others.
const MOST: usize = 1024;
const MOST_OF_ONE: usize = 64;
/// The most checks of one.
const MOST_CHECKS: usize = 256;

/// One attempt.
pub struct Refusal {
    /// Its short name.
    pub attempt: String,
    /// The joiner's address.
    pub from: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
    /// What is told of it.
    pub told: ExplainJoinResponse,
}

/// The attempts.
#[derive(Default)]
pub struct Attempts(Mutex<VecDeque<Refusal>>);

impl Attempts {
    /// Remembers one; a further try of an attempt takes the place of the one before.
    pub fn remember(&self, mut refusal: Refusal) {
        refusal.told.checks.truncate(MOST_CHECKS);
        let mut all = self.all();
        let gone =
            |known: &Refusal| known.attempt == refusal.attempt || refusal.at.duration_since(known.at) > KEPT;
        all.retain(|known| !gone(known));
        if all.iter().filter(|known| known.from == refusal.from).count() >= MOST_OF_ONE
            && let Some(oldest) = all.iter().position(|known| known.from == refusal.from)
        {
            all.remove(oldest);
        }
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(refusal);
    }

    /// What is known of an attempt.
    pub fn find(&self, attempt: &str, now: Timestamp) -> Option<ExplainJoinResponse> {
        let all = self.all();
        let found = all.iter().find(|known| known.attempt == attempt)?;
        (now.duration_since(found.at) <= KEPT).then(|| found.told.clone())
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A check of a rule as it is told.
pub fn told(check: &Check) -> JoinCheck {
    JoinCheck {
        rule: u32::try_from(check.rule + 1).unwrap_or(u32::MAX),
        field: check.field.to_owned(),
        wanted: format!("{:?}", check.wanted),
        found: check.found.chars().take(512).collect(),
        fits: check.fits,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempts, ExplainJoinResponse, KEPT, MOST, MOST_OF_ONE, Refusal};
    use jiff::{SignedDuration, Timestamp};

    fn refused(attempts: &Attempts, attempt: &str, from: u8, at: Timestamp) {
        let told = ExplainJoinResponse { reason: at.to_string(), ..ExplainJoinResponse::default() };
        let from = Some(std::net::IpAddr::from([192, 0, 2, from]));
        attempts.remember(Refusal { attempt: attempt.to_owned(), from, at, told });
    }

    #[test]
    fn they_are_kept_for_a_day_and_strangers_forget_their_own() {
        let (attempts, start) = (Attempts::default(), Timestamp::UNIX_EPOCH);
        refused(&attempts, "mine", 1, start);
        let later = start + SignedDuration::from_secs(1);
        refused(&attempts, "mine", 1, later);
        for n in 0..MOST_OF_ONE + 10 {
            refused(&attempts, &format!("flood-{n}"), 2, later);
        }
        assert_eq!(attempts.find("mine", later).map(|told| told.reason), Some(later.to_string()));
        assert_eq!(attempts.find("flood-0", later), None);
        assert_eq!(attempts.all().len(), 1 + MOST_OF_ONE);
        assert_eq!(attempts.find("mine", later + KEPT + SignedDuration::from_secs(1)), None);
        for n in 0..MOST + 10 {
            refused(&attempts, &format!("n-{n}"), (n % 200) as u8, later);
        }
        assert!(attempts.all().len() <= MOST);
    }
}
