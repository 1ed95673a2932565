//! When to do the next round: spread, so that a fleet that started together does not stay together.

use std::time::Duration;

/// First pause after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause before the next regular round: the interval, shortened by up to a tenth. `random` is in [0, 1).
pub fn regular(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0))
}

/// The pause after `failures` failed rounds in a row: doubling, never longer than a minute or the interval, and
/// anywhere in the upper half of that.
pub fn after_failures(failures: u32, interval: Duration, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let limit = doubled.min(LONGEST).min(interval.max(FIRST));
    limit.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::{after_failures, regular};
    use std::time::Duration;

    #[test]
    fn regular_rounds_come_a_little_early() {
        let interval = Duration::from_secs(1200);
        assert_eq!(regular(interval, 0.0), interval);
        assert!(regular(interval, 0.999) > Duration::from_secs(1079));
    }

    #[test]
    fn failures_double_up_to_a_minute() {
        let interval = Duration::from_secs(1200);
        let pauses: Vec<u64> = [1, 2, 3, 7, 30].map(|n| after_failures(n, interval, 1.0).as_secs()).into();
        assert_eq!(pauses, [1, 2, 4, 60, 60]);
        assert_eq!(after_failures(9, Duration::from_secs(5), 1.0), Duration::from_secs(5));
    }
}
