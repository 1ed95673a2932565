//! Tries that are spent and earned back. Time is an argument.

use jiff::Timestamp;
use std::sync::Mutex;
use std::time::Duration;

/// So many at once, and so many that each second earns back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) most: f64,
    pub(super) per_second: f64,
}

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn full(budget: Budget, now: Timestamp) -> Self {
        Self { left: budget.most, at: now }
    }

    pub(super) fn level(&mut self, budget: Budget, now: Timestamp) -> f64 {
        let earned = now.duration_since(self.at).as_secs_f64().max(0.0) * budget.per_second;
        self.left = (self.left + earned).min(budget.most);
        self.at = self.at.max(now);
        self.left
    }

    /// Until it has earned one back, and a second more: others wait for the same one.
    pub(super) fn pause(&mut self, budget: Budget, now: Timestamp) -> Duration {
        let missing = 1.0 - self.level(budget, now);
        match missing > 0.0 {
            true => Duration::from_secs(1) + Duration::from_secs_f64(missing / budget.per_second),
            false => Duration::ZERO,
        }
    }

    /// Takes so many, or says how long until there are as many.
    pub(super) fn take(&mut self, budget: Budget, amount: f64, now: Timestamp) -> Result<(), Duration> {
        let missing = amount - self.level(budget, now);
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / budget.per_second));
        }
        self.left -= amount;
        Ok(())
    }

    pub(super) fn charge(&mut self, budget: Budget, now: Timestamp) {
        self.left = (self.level(budget, now) - 1.0).max(0.0);
    }
}

/// How often something may be done, whoever asks for it.
#[derive(Debug)]
pub struct Pace(Budget, Mutex<Bucket>);

impl Pace {
    /// So often at once, and so often each second from then on.
    pub fn new(most: u32, per_second: u32, now: Timestamp) -> Self {
        let budget = Budget { most: most.into(), per_second: per_second.into() };
        Self(budget, Mutex::new(Bucket::full(budget, now)))
    }

    /// Whether it may be done once more; then it counts as done.
    pub fn takes(&self, now: Timestamp) -> bool {
        let mut bucket = self.1.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let may = bucket.level(self.0, now) >= 1.0;
        if may {
            bucket.charge(self.0, now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn a_pace_is_kept_whoever_asks() {
        let start = Timestamp::from_second(1_700_000_000).expect("a valid time");
        let pace = Pace::new(3, 1, start);
        assert_eq!((0..10).filter(|_| pace.takes(start)).count(), 3);
        let later = start + SignedDuration::from_secs(2);
        assert_eq!((0..10).filter(|_| pace.takes(later)).count(), 2);
    }
}
