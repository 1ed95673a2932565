//! How many calls that cost much are worked on at once. Whoever comes beyond that is told when to come back: each at a moment
//! of its own, as far apart as auth is fast. So a fleet that wakes in one second comes through in one pass, and nobody has to
//! try again and again.
//!
//! Nobody has more than a share: sixteen places, and fewer while there are so many who have or want some that all could not have
//! that many. Whoever is at his share is sent away without an appointment, so that he takes none of those of the others.
//!
//! Time is an argument.

use crate::pacing::Spender;
use api::status::{Class, Problem};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At once. Few enough that each is answered long before its caller gives up, also where auth is slow, and that all fit into the store's
/// queue; otherwise as many as can be: who waits here has shaken hands already, and whoever is put off does it once more.
const MOST: usize = 1_024;
/// Of one at most.
const OF_ONE: usize = 16;
/// Members that have places or appointments, as many as are remembered at once.
const MEMBERS: usize = 65_536;
/// Who does not come to his appointment within this time of it has none.
const LATE: Duration = Duration::from_secs(5);
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
    members: HashMap<Spender, Present>,
    swept: Instant,
}

/// A member that has places, or is to come.
#[derive(Debug, Default)]
struct Present {
    inside: usize,
    appointment: Option<Instant>,
}

impl Present {
    fn is_here(&self, now: Instant) -> bool {
        self.inside > 0 || self.appointment.is_some_and(|at| at + LATE > now)
    }
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
pub struct Inside(Arc<Shared>, Option<Spender>);

impl Turnstile {
    /// Nobody is inside.
    pub fn new(now: Instant) -> Self {
        Self::with_room_for(MOST, now)
    }

    fn with_room_for(most: usize, now: Instant) -> Self {
        let window = Window { since: now, done: 0, full: false };
        let members = HashMap::new();
        let state = State { inside: 0, next: now, rate: FIRST_RATE, window, members, swept: now };
        Self(Arc::new(Shared { most, state: Mutex::new(state) }))
    }

    /// Lets a call in, or says when it is to be made again. Whoever is not counted, as strangers are not, has no share.
    pub fn enter(&self, who: Option<Spender>, now: Instant) -> Result<Inside, Problem> {
        let mut state = self.0.state();
        let own = who.as_ref().and_then(|who| state.members.get(who)).map_or(0, |present| present.inside);
        let share = state.share(self.0.most, now);
        if who.is_some() && own >= share {
            drop(state);
            let reason =
                format!("{own} calls of this identity are being worked on, as many as there may be at once");
            let problem = Problem::new(Class::Exhausted, "too_many_calls", reason);
            return Err(problem.hint("make fewer calls at once").again_in(SOONEST));
        }
        if state.inside < self.0.most {
            state.inside += 1;
            if let Some(present) = who.as_ref().and_then(|who| state.present(who, now)) {
                present.inside += 1;
                present.appointment = None;
                return Ok(Inside(Arc::clone(&self.0), who));
            }
            return Ok(Inside(Arc::clone(&self.0), None));
        }
        let pause = state.put_off(who.as_ref(), now);
        drop(state);
        let problem =
            Problem::new(Class::Exhausted, "busy", "the auth service has too much to do at this moment");
        Err(problem.hint(format!("try again in {} s", pause.as_secs() + 1)).again_in(pause))
    }
}

impl State {
    /// How many places one may have now.
    fn share(&mut self, most: usize, now: Instant) -> usize {
        self.sweep(now);
        let sharers = self.members.len().max(most.div_ceil(OF_ONE)).max(1);
        (most / sharers).clamp(1, OF_ONE)
    }

    /// What is known of a member; nothing where there are too many of them.
    fn present(&mut self, who: &Spender, now: Instant) -> Option<&mut Present> {
        if self.members.len() >= MEMBERS && !self.members.contains_key(who) {
            self.sweep(now);
            if self.members.len() >= MEMBERS {
                return None;
            }
        }
        Some(self.members.entry(who.clone()).or_default())
    }

    /// Forgets who is not here and does not come; not more often than twice a second, because it looks at everybody.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < WINDOW {
            return;
        }
        self.swept = now;
        self.members.retain(|_, present| present.is_here(now));
    }

    /// One appointment for each who is counted, however often he asks.
    fn put_off(&mut self, who: Option<&Spender>, now: Instant) -> Duration {
        let has = who.and_then(|who| self.members.get(who)?.appointment).filter(|at| *at > now);
        if let Some(at) = has {
            return (at - now).max(SOONEST);
        }
        let pause = self.appoint(now);
        if let Some(present) = who.and_then(|who| self.present(who, now)) {
            present.appointment = Some(now + pause);
        }
        pause
    }

    fn appoint(&mut self, now: Instant) -> Duration {
        self.window.full = true;
        let next = (self.next + Duration::from_secs_f64(1.0 / self.rate)).max(now + SOONEST);
        // There are more than come through by then. They share the second half of the time, and are put off once more.
        self.next = if next > now + LATEST { now + LATEST / 2 } else { next };
        self.next - now
    }

    fn left(&mut self, who: Option<&Spender>, now: Instant) {
        self.inside -= 1;
        if let Some(who) = who
            && let Some(present) = self.members.get_mut(who)
        {
            present.inside -= 1;
            if !present.is_here(now) {
                self.members.remove(who);
            }
        }
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
        self.0.state().left(self.1.as_ref(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::{FASTEST, LATEST, OF_ONE, SLOWEST, SOONEST, State, Turnstile, Window};
    use crate::pacing::Spender;
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    fn pause(turnstile: &Turnstile, now: Instant) -> Duration {
        turnstile.enter(None, now).expect_err("full").again_in.expect("says when")
    }

    #[test]
    fn whoever_is_put_off_has_a_moment_of_his_own() {
        let now = Instant::now();
        let turnstile = Turnstile::with_room_for(2, now);
        let inside = [turnstile.enter(None, now).expect("room"), turnstile.enter(None, now).expect("room")];
        let pauses: Vec<Duration> = (0..1000).map(|_| pause(&turnstile, now)).collect();
        assert_eq!(pauses[0], SOONEST);
        assert!(pauses.windows(2).all(|two| two[1] > two[0]));
        drop(inside);
        assert!(turnstile.enter(None, now).is_ok());
    }

    /// One with hundreds of calls at once has a few of the places, and no appointments of those who wait.
    #[test]
    fn nobody_has_more_than_a_share() {
        let now = Instant::now();
        let turnstile = Turnstile::with_room_for(256, now);
        let enter = |uid: u32| turnstile.enter(Some(Spender::LocalAdmin(uid)), now);
        let flood: Vec<_> = (0..390).filter_map(|_| enter(0).ok()).collect();
        assert_eq!(flood.len(), OF_ONE);
        assert_eq!(enter(0).expect_err("at its share").code, "too_many_calls");
        let others: Vec<_> = (1..16).flat_map(|uid| (0..OF_ONE).map(move |_| uid)).map(enter).collect();
        assert!(others.iter().all(Result::is_ok), "all others have theirs");
        // Now it is full, and somebody else waits: his appointment is the first, and stays it.
        let refused = enter(99).expect_err("full");
        assert_eq!((refused.code.as_str(), refused.again_in), ("busy", Some(SOONEST)));
        for _ in 0..1000 {
            enter(0).expect_err("at its share");
            enter(99).expect_err("full");
        }
        assert_eq!(
            enter(98).expect_err("full").again_in,
            Some(SOONEST + Duration::from_millis(2) + Duration::from_micros(500))
        );
        // Who has places gets fewer while there are more who want some.
        drop((flood, others));
        let waiting: Vec<_> = (100..164).map(|uid| enter(uid).expect("room")).collect();
        let few = (0..390).filter_map(|_| enter(0).ok()).collect::<Vec<_>>().len();
        assert_eq!(few, 256 / (waiting.len() + 3));
        drop(waiting);
        assert!(turnstile.0.state().members.len() <= 2, "who is gone is forgotten");
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
            let (window, members) = (window(full), HashMap::new());
            let mut state = State { inside: 1, next: start, rate: 400.0, window, members, swept: start };
            state.left(None, start + took);
            state.rate
        };
        assert_eq!(rate(true, Duration::from_secs(1)), 700.0);
        assert_eq!(rate(false, Duration::from_secs(1)), 400.0, "that was how many came");
        assert_eq!(rate(true, Duration::from_secs(1000)), SLOWEST.max(200.5));
        assert!(rate(true, Duration::from_millis(500)) <= FASTEST);
        assert_eq!(rate(true, Duration::from_millis(1)), 400.0, "too short to measure");
    }
}
