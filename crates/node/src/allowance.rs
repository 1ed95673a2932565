//! So many things at once, and so many a second after that.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of an allowance that grows again with time.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

impl Allowance {
    /// A full one.
    pub(crate) fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { left: most.into(), most: most.into(), per_second: per_second.into(), at: now }
    }

    /// Takes one if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.grow(now);
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }

    /// Takes one that may not be there yet, and says how long it has to be waited for.
    pub(crate) fn owe(&mut self, now: Instant) -> Duration {
        self.grow(now);
        self.left -= 1.0;
        Duration::try_from_secs_f64((-self.left).max(0.0) / self.per_second).unwrap_or_default()
    }

    fn grow(&mut self, now: Instant) {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + grown).min(self.most);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_up_and_grows_again() {
        let start = Instant::now();
        let mut allowance = Allowance::new(2, 10, start);
        assert_eq!([0, 0, 0].map(|_| allowance.take(start)), [true, true, false]);
        let later = start + Duration::from_millis(150);
        assert_eq!([0, 0].map(|_| allowance.take(later)), [true, false]);
        let long_after = later + Duration::from_secs(3600);
        assert_eq!([0, 0, 0].map(|_| allowance.take(long_after)), [true, true, false]);
    }

    #[test]
    fn what_is_owed_is_waited_for() {
        let start = Instant::now();
        let mut allowance = Allowance::new(1, 10, start);
        assert_eq!(allowance.owe(start), Duration::ZERO);
        assert_eq!(allowance.owe(start), Duration::from_millis(100));
        assert_eq!(allowance.owe(start), Duration::from_millis(200));
        assert_eq!(allowance.owe(start + Duration::from_millis(200)), Duration::from_millis(100));
    }
}
