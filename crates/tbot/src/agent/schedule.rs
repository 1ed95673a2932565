//! When to do something again: spread, so that a fleet that started together does not stay together; later and later after
//! failures; not sooner than the server asks for. A server that asks for time, and a failure or two that may pass by themselves, are
//! no reason to alarm anybody while what there is stays valid. Pure.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// First pause after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST: Duration = Duration::from_secs(60);
/// So many failures in a row that may pass are not told as failures, while what there is stays valid.
const QUIET: u32 = 2;
/// A server that puts an agent off so often in a row is in trouble itself.
const PUT_OFF_MOST: u32 = 10;
/// What there is has to be valid this much longer than until the next try.
const IN_HAND: Duration = Duration::from_secs(60);
/// No server makes an agent wait longer than this.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// A moment on two clocks: the wall's, which goes on while the machine sleeps and may be set back, and that of the
/// process, which does neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// Since the process started.
    pub running: Duration,
}

impl Moment {
    fn after(self, pause: Duration) -> Self {
        let wall = SignedDuration::try_from(pause).ok().and_then(|pause| self.wall.checked_add(pause).ok());
        Self { wall: wall.unwrap_or(Timestamp::MAX), running: self.running.saturating_add(pause) }
    }
}

/// When one service is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    due: Option<Moment>,
    failures: u32,
    put_off: u32,
}

/// What came of a round that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Time until the next try.
    pub pause: Duration,
    /// Whether somebody should know; otherwise it is no failure yet.
    pub is_told: bool,
}

/// How a round failed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failure {
    /// How long the server asks to be left alone.
    pub asked: Option<Duration>,
    /// The server did not look at it, and says when it will.
    pub is_put_off: bool,
    /// It may pass by itself.
    pub may_pass: bool,
    /// How long what there is stays valid.
    pub left: Duration,
}

impl Schedule {
    /// Due at once, then every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, due: None, failures: 0, put_off: 0 }
    }

    /// Makes it due at once.
    pub fn hurry(&mut self) {
        self.due = None;
    }

    /// Makes it due within this time, unless it is sooner, or is being retried: a server that has too much to do is not asked
    /// more often for that.
    pub fn hurry_within(&mut self, now: Moment, within: Duration) {
        if !self.is_retried() && self.pause(now) > within {
            self.due = Some(now.after(within));
        }
    }

    /// Makes it due within this time if it has failed and nobody asked to wait.
    pub fn hurry_after_failure(&mut self, now: Moment, within: Duration) {
        if self.failures > 0 && self.put_off == 0 && self.pause(now) > within {
            self.due = Some(now.after(within));
        }
    }

    fn is_retried(&self) -> bool {
        self.failures > 0 || self.put_off > 0
    }

    /// Time until it is due: whichever clock says so first.
    pub fn pause(&self, now: Moment) -> Duration {
        let Some(due) = self.due else { return Duration::ZERO };
        let by_wall = Duration::try_from(due.wall.duration_since(now.wall)).unwrap_or_default();
        by_wall.min(due.running.saturating_sub(now.running))
    }

    /// Whether it is due.
    pub fn is_due(&self, now: Moment) -> bool {
        self.pause(now).is_zero()
    }

    /// Whether it may as well be done with others that are due: it is not being retried, and has at most a tenth of its
    /// interval left.
    pub fn is_nearly_due(&self, now: Moment) -> bool {
        self.is_due(now) || !self.is_retried() && self.pause(now) <= self.interval / 10
    }

    /// When it is due by the wall clock; `None` for at once.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.due.map(|due| due.wall)
    }

    /// It was done, and what came of it lives this long. `random` is in [0, 1).
    pub fn succeeded(&mut self, now: Moment, life: Duration, random: f64) {
        (self.failures, self.put_off) = (0, 0);
        // What lives shorter than the interval must not end before its successor is there.
        let interval = self.interval.min(life / 3 * 2).max(FIRST);
        self.due = Some(now.after(regular(interval, random)));
    }

    /// It did not succeed. Gives when it is tried again, and whether that is told as a failure.
    pub fn failed(&mut self, now: Moment, failure: Failure, random: f64) -> Retry {
        let Failure { asked, is_put_off, may_pass, left } = failure;
        // A little later than asked, so that those who were asked for the same do not come together.
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        let asked = asked + Duration::from_secs(1).min(asked / 4).mul_f64(random.clamp(0.0, 1.0));
        let is_put_off = is_put_off && self.put_off < PUT_OFF_MOST;
        let pause = match is_put_off {
            true => {
                self.put_off += 1;
                asked
            }
            false => {
                self.failures = self.failures.saturating_add(1);
                after_failures(self.failures, self.interval, random).max(asked)
            }
        };
        self.due = Some(now.after(pause));
        let is_quiet = is_put_off || may_pass && self.failures <= QUIET;
        Retry { pause, is_told: !is_quiet || left < pause.saturating_add(IN_HAND) }
    }
}

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
    use super::{Failure, Moment, Schedule, after_failures, regular};
    use jiff::Timestamp;
    use std::time::Duration;

    #[test]
    fn only_what_is_being_retried_is_hurried_after_a_failure() {
        let now = Moment { wall: Timestamp::now(), running: Duration::ZERO };
        let mut schedule = Schedule::new(HOUR);
        schedule.succeeded(now, HOUR, 0.0);
        schedule.hurry_after_failure(now, Duration::ZERO);
        assert!(!schedule.is_due(now));
        schedule.failed(now, Failure { asked: Some(HOUR), ..Failure::default() }, 0.0);
        assert!(!schedule.is_due(now));
        schedule.hurry_after_failure(now, Duration::ZERO);
        assert!(schedule.is_due(now));
        schedule.failed(now, Failure { asked: Some(HOUR), is_put_off: true, ..Failure::default() }, 0.0);
        schedule.hurry_after_failure(now, Duration::ZERO);
        assert!(!schedule.is_due(now), "the server asked to wait");
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(wall: i64, running: u64) -> Moment {
        Moment {
            wall: Timestamp::from_second(wall).expect("a small number"),
            running: Duration::from_secs(running),
        }
    }

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

    #[test]
    fn either_clock_makes_it_due() {
        let mut schedule = Schedule::new(HOUR);
        assert!(schedule.is_due(at(0, 0)));
        schedule.succeeded(at(10_000, 0), 24 * HOUR, 0.0);
        assert!(!schedule.is_due(at(13_599, 3599)));
        assert!(schedule.is_due(at(13_600, 5)), "the machine slept");
        assert!(schedule.is_due(at(0, 3600)), "the clock was set back");
        assert!(schedule.is_nearly_due(at(13_300, 3300)) && !schedule.is_nearly_due(at(13_000, 3000)));
    }

    #[test]
    fn what_is_retried_is_not_hurried() {
        let (now, soon) = (at(0, 0), Duration::from_secs(2));
        let mut schedule = Schedule::new(HOUR);
        schedule.succeeded(now, 24 * HOUR, 0.0);
        schedule.hurry_within(now, soon);
        assert_eq!(schedule.pause(now), soon);
        schedule.hurry_within(now, HOUR);
        assert_eq!(schedule.pause(now), soon, "it is due sooner already");
        let asked = Some(Duration::from_secs(50));
        schedule.failed(now, Failure { asked, is_put_off: true, ..Failure::default() }, 0.0);
        schedule.hurry_within(now, soon);
        assert_eq!(schedule.pause(now), Duration::from_secs(50));
    }

    #[test]
    fn a_short_life_is_renewed_in_time() {
        let mut schedule = Schedule::new(HOUR);
        schedule.succeeded(at(0, 0), Duration::from_secs(900), 0.0);
        assert_eq!(schedule.pause(at(0, 0)), Duration::from_secs(600));
    }

    #[test]
    fn a_server_may_ask_for_more_time_but_not_for_ever() {
        let mut schedule = Schedule::new(HOUR);
        let asked = |asked| Failure { asked, ..Failure::default() };
        assert_eq!(schedule.failed(at(0, 0), asked(Some(Duration::from_secs(90))), 0.0).pause.as_secs(), 90);
        assert!(!schedule.is_nearly_due(at(0, 0)), "a retry is not taken along");
        assert_eq!(schedule.failed(at(0, 0), asked(Some(Duration::MAX)), 0.0).pause, HOUR);
        assert_eq!(schedule.failed(at(0, 0), asked(None), 1.0).pause.as_secs(), 4);
    }

    #[test]
    fn who_is_put_off_comes_when_it_was_told_to_and_alarms_nobody() {
        let mut schedule = Schedule::new(HOUR);
        schedule.succeeded(at(0, 0), 24 * HOUR, 0.0);
        let asked = Duration::from_secs(20);
        let put_off = |left| Failure { asked: Some(asked), is_put_off: true, may_pass: true, left };
        for random in [0.0, 0.5, 1.0] {
            let retry = schedule.failed(at(0, 0), put_off(HOUR), random);
            assert!(
                !retry.is_told && (asked..=asked + Duration::from_secs(1)).contains(&retry.pause),
                "{retry:?}"
            );
            assert!(!schedule.is_nearly_due(at(0, 0)), "not sooner than asked, whatever else is due");
        }
        assert!(schedule.failed(at(0, 0), put_off(asked), 0.0).is_told, "what there is ends soon");
        let told = (0..20).filter(|_| schedule.failed(at(0, 0), put_off(HOUR), 0.0).is_told).count();
        assert!(told > 5, "for ever is too long");
        schedule.succeeded(at(0, 0), 24 * HOUR, 0.0);
        assert!(!schedule.failed(at(0, 0), put_off(HOUR), 0.0).is_told);
    }

    #[test]
    fn one_failure_that_may_pass_alarms_nobody_and_three_do() {
        let passing = |left| Failure { may_pass: true, left, ..Failure::default() };
        let mut schedule = Schedule::new(HOUR);
        let told = [0; 4].map(|_| schedule.failed(at(0, 0), passing(HOUR), 0.0).is_told);
        assert_eq!(told, [false, false, true, true]);
        let mut schedule = Schedule::new(HOUR);
        assert!(
            schedule.failed(at(0, 0), passing(Duration::ZERO), 0.0).is_told,
            "there is nothing that is valid"
        );
        let mut schedule = Schedule::new(HOUR);
        let lasting = Failure { may_pass: false, ..passing(HOUR) };
        assert!(schedule.failed(at(0, 0), lasting, 0.0).is_told);
    }
}
