//! How many calls that cost much are worked on at once. Whoever comes beyond that is told when to come back: each at a moment
//! of its own, as far apart as auth is fast. So a fleet that wakes in one second comes through in one pass, and nobody has to
//! try again and again.
//!
//! Time is an argument.

use api::status::{Class, Problem};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At once. Few enough that each is answered long before its caller gives up, also where auth is slow, and that all fit into the store's
/// queue; otherwise as many as can be: who waits here has shaken hands already, and whoever is put off does it once more.
const MOST: usize = 1_024;
/// Nobody is asked to come back sooner.
const SOONEST: Duration = Duration::from_millis(500);
/// Nobody is asked to stay away longer.
const LATEST: Duration = Duration::from_secs(50);
/// How fast it is measured over.
const WINDOW: Duration = Duration::from_millis(500);
/// Calls in a second, before anything was measured, and what is believed of a measurement.
const FIRST_RATE: f64 = 400.0;
const SLOWEST: f64 = 200.0;
const FASTEST: f64 = 5_000.0;

/// One turnstile; clones share it.
#[derive(Debug, Clone)]
pub struct Turnstile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inside: usize,
    /// When the next one that is put off is to come.
    next: Instant,
    /// Calls in a second, while there were more than could be worked on.
    rate: f64,
    window: Window,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    done: u32,
    /// Whether somebody was put off in it: otherwise it measures how many came, not how many could.
    full: bool,
}

/// A call that is being worked on, until this is dropped.
#[derive(Debug)]
pub struct Inside(Arc<Shared>);

impl Turnstile {
    /// Nobody is inside.
    pub fn new(now: Instant) -> Self {
        Self::with_room_for(MOST, now)
    }

    fn with_room_for(most: usize, now: Instant) -> Self {
        let window = Window { since: now, done: 0, full: false };
        let state = State { inside: 0, next: now, rate: FIRST_RATE, window };
        Self(Arc::new(Shared { most, state: Mutex::new(state) }))
    }

    /// Lets a call in, or says when it is to be made again.
    pub fn enter(&self, now: Instant) -> Result<Inside, Problem> {
        let mut state = self.0.state();
        if state.inside < self.0.most {
            state.inside += 1;
            return Ok(Inside(Arc::clone(&self.0)));
        }
        let pause = state.put_off(now);
        drop(state);
        let problem =
            Problem::new(Class::Exhausted, "busy", "the auth service has too much to do at this moment");
        Err(problem.hint(format!("try again in {} s", pause.as_secs() + 1)).again_in(pause))
    }
}

impl State {
    fn put_off(&mut self, now: Instant) -> Duration {
        self.window.full = true;
        let next = (self.next + Duration::from_secs_f64(1.0 / self.rate)).max(now + SOONEST);
        // There are more than come through by then. They share the second half of the time, and are put off once more.
        self.next = if next > now + LATEST { now + LATEST / 2 } else { next };
        self.next - now
    }

    fn left(&mut self, now: Instant) {
        self.inside -= 1;
        self.window.done += 1;
        let elapsed = now.saturating_duration_since(self.window.since);
        if elapsed < WINDOW {
            return;
        }
        if self.window.full {
            let measured = f64::from(self.window.done) / elapsed.as_secs_f64();
            self.rate = (0.5 * (self.rate + measured)).clamp(SLOWEST, FASTEST);
        }
        self.window = Window { since: now, done: 0, full: false };
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.state().left(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::{FASTEST, LATEST, SLOWEST, SOONEST, State, Turnstile, Window};
    use std::time::{Duration, Instant};

    fn pause(turnstile: &Turnstile, now: Instant) -> Duration {
        turnstile.enter(now).expect_err("full").again_in.expect("says when")
    }

    #[test]
    fn whoever_is_put_off_has_a_moment_of_his_own() {
        let now = Instant::now();
        let turnstile = Turnstile::with_room_for(2, now);
        let inside = [turnstile.enter(now).expect("room"), turnstile.enter(now).expect("room")];
        let pauses: Vec<Duration> = (0..1000).map(|_| pause(&turnstile, now)).collect();
        assert_eq!(pauses[0], SOONEST);
        assert!(pauses.windows(2).all(|two| two[1] > two[0]));
        drop(inside);
        assert!(turnstile.enter(now).is_ok());
    }

    #[test]
    fn nobody_is_sent_away_for_long() {
        let now = Instant::now();
        let turnstile = Turnstile::with_room_for(0, now);
        let pauses: Vec<Duration> = (0..100_000).map(|_| pause(&turnstile, now)).collect();
        assert!(pauses.iter().all(|pause| (SOONEST..=LATEST).contains(pause)));
        let in_the_first_half = pauses.iter().filter(|pause| **pause < LATEST / 2).count();
        assert!(in_the_first_half < 15_000, "{in_the_first_half}");
        // Later, those moments have passed.
        assert_eq!(pause(&turnstile, now + 2 * LATEST), SOONEST);
    }

    #[test]
    fn moments_are_as_far_apart_as_auth_is_fast() {
        let start = Instant::now();
        let window = |full| Window { since: start, done: 999, full };
        let rate = |full, took: Duration| {
            let mut state = State { inside: 1, next: start, rate: 400.0, window: window(full) };
            state.left(start + took);
            state.rate
        };
        assert_eq!(rate(true, Duration::from_secs(1)), 700.0);
        assert_eq!(rate(false, Duration::from_secs(1)), 400.0, "that was how many came");
        assert_eq!(rate(true, Duration::from_secs(1000)), SLOWEST.max(200.5));
        assert!(rate(true, Duration::from_millis(500)) <= FASTEST);
        assert_eq!(rate(true, Duration::from_millis(1)), 400.0, "too short to measure");
    }
}
