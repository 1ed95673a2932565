//! How long to wait before trying again: exponential, with jitter, bounded.

use std::time::Duration;

/// The waits between tries of one thing. Each is drawn from the upper half of a step that doubles up to a cap, so
/// that many who failed at once do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: Duration,
}

impl Backoff {
    /// Waits from about `first` up to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, step: first }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.longest);
        step / 2 + between_zero_and(step / 2)
    }

    /// After a success: start from the first wait again.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

/// A uniformly random wait in `0..limit`; zero when the system gives no randomness, which only costs spread.
#[must_use]
pub fn between_zero_and(limit: Duration) -> Duration {
    let mut bytes = [0u8; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Duration::ZERO;
    }
    limit.mul_f64(f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::{Backoff, between_zero_and};
    use std::time::Duration;

    #[test]
    fn doubles_up_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait();
            assert!(
                wait >= Duration::from_millis(step / 2) && wait <= Duration::from_millis(step),
                "{wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }

    #[test]
    fn jitter_stays_below_its_limit() {
        assert_eq!(between_zero_and(Duration::ZERO), Duration::ZERO);
        assert!((0..1000).all(|_| between_zero_and(Duration::from_secs(1)) < Duration::from_secs(1)));
    }
}
