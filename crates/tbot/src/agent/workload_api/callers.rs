//! What each user of the machine may ask for, so that none of them keeps the others from their tokens. Whoever is asked for by
//! the table is told apart by the kernel's word alone: the user's number.

use api::v1::JwtSvid;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Users that are told apart at once. Who finds no room shares the room of all others who find none.
const MOST: usize = 64;
/// Tokens of one user that are remembered.
const MOST_KNOWN: usize = 32;
/// Questions to auth of one user at once, in a row, and then in a second.
const AT_ONCE: usize = 2;
const BURST: f64 = 50.0;
const PACE: f64 = 10.0;

/// The users.
pub(super) struct Callers {
    apart: Mutex<HashMap<u32, Arc<Caller>>>,
    others: Arc<Caller>,
}

/// One user.
pub(super) struct Caller {
    bucket: Mutex<Bucket>,
    known: Mutex<HashMap<Key, (JwtSvid, Timestamp)>>,
    /// Held by who asks auth.
    pub(super) asking: Semaphore,
}

/// What a token is about.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: String,
    pub(super) hint: String,
    pub(super) roles: Vec<String>,
    pub(super) audience: Vec<String>,
    /// The revision of the bundle that it was given out with: a token of an authority that is gone is not given out again.
    pub(super) trust: i64,
}

impl Callers {
    pub(super) fn new(now: Instant) -> Self {
        Self { apart: Mutex::default(), others: Arc::new(Caller::new(now)) }
    }

    /// The user of this number.
    pub(super) fn of(&self, uid: u32, now: Instant) -> Arc<Caller> {
        let mut apart = locked(&self.apart);
        if let Some(known) = apart.get(&uid) {
            return known.clone();
        }
        if apart.len() >= MOST {
            // Who asked nothing lately is nobody who would have to be told apart.
            apart.retain(|_, caller| Arc::strong_count(caller) > 1 || !locked(&caller.bucket).is_full(now));
        }
        if apart.len() >= MOST {
            return self.others.clone();
        }
        let caller = Arc::new(Caller::new(now));
        apart.insert(uid, caller.clone());
        caller
    }
}

impl Caller {
    fn new(now: Instant) -> Self {
        let bucket = Mutex::new(Bucket { left: BURST, since: now });
        Self { bucket, known: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }

    /// Whether it may ask auth now.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        locked(&self.bucket).take(now)
    }

    /// A token that it was given, while that is fresh.
    pub(super) fn known(&self, key: &Key, now: Timestamp) -> Option<JwtSvid> {
        let known = locked(&self.known);
        known.get(key).filter(|(_, fresh_until)| now < *fresh_until).map(|(svid, _)| svid.clone())
    }

    /// It was given a token, which is fresh for half of its life.
    pub(super) fn remember(&self, key: Key, svid: &JwtSvid, now: Timestamp) {
        let Ok(expires) = Timestamp::from_second(svid.expires) else { return };
        let Ok(left) = Duration::try_from(expires.duration_since(now)) else { return };
        let mut known = locked(&self.known);
        known.retain(|_, (_, fresh_until)| now < *fresh_until);
        if known.len() < MOST_KNOWN {
            known.insert(key, (svid.clone(), now + left / 2));
        }
    }
}

/// Questions that are left.
struct Bucket {
    left: f64,
    since: Instant,
}

impl Bucket {
    fn left(&self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.since).as_secs_f64() * PACE).min(BURST)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.left(now) >= BURST
    }

    fn take(&mut self, now: Instant) -> bool {
        let left = self.left(now);
        let enough = left >= 1.0;
        *self = Self { left: if enough { left - 1.0 } else { left }, since: now };
        enough
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{BURST, Callers, Key, MOST, MOST_KNOWN};
    use api::v1::JwtSvid;
    use jiff::{SignedDuration, Timestamp};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn exhaust(callers: &Callers, uid: u32, now: Instant) -> usize {
        (0..1000).take_while(|_| callers.of(uid, now).may_ask(now)).count()
    }

    #[test]
    fn one_user_keeps_no_other_waiting() {
        let now = Instant::now();
        let callers = Callers::new(now);
        assert_eq!(exhaust(&callers, 1, now), BURST as usize);
        assert!(!callers.of(1, now).may_ask(now) && callers.of(2, now).may_ask(now));
        let later = now + Duration::from_secs(1);
        assert_eq!(exhaust(&callers, 1, later), 10, "and it goes on at its pace");
    }

    /// A user with many numbers, as user namespaces give them out, shares one room with those who come after.
    #[test]
    fn the_table_is_bounded_and_forgets_who_is_quiet() {
        let now = Instant::now();
        let callers = Callers::new(now);
        let many: u32 = MOST.try_into().expect("small");
        for uid in 0..many {
            assert!(callers.of(uid, now).may_ask(now));
        }
        assert!(Arc::ptr_eq(&callers.of(many, now), &callers.others), "no room");
        assert!(Arc::ptr_eq(&callers.of(many + 1, now), &callers.others));
        assert!(!Arc::ptr_eq(&callers.of(0, now), &callers.others), "who is there stays");
        let quiet = now + Duration::from_secs(60);
        let busy = callers.of(3, quiet);
        assert!(!Arc::ptr_eq(&callers.of(many, quiet), &callers.others));
        assert!(callers.apart.lock().expect("ours").len() <= 3);
        assert!(Arc::ptr_eq(&callers.of(3, quiet), &busy), "who asks right now is not forgotten");
    }

    #[test]
    fn tokens_are_remembered_for_half_of_their_life_and_not_without_bound() {
        let callers = Callers::new(Instant::now());
        let (caller, now) = (callers.of(1, Instant::now()), Timestamp::from_second(1000).expect("a time"));
        let svid = JwtSvid { spiffe_id: "x".into(), token: "t".into(), expires: 1300 };
        let key = |nth: usize| Key {
            path: "/a".into(),
            hint: String::new(),
            roles: vec![],
            audience: vec![nth.to_string()],
            trust: 1,
        };
        for nth in 0..MOST_KNOWN + 5 {
            caller.remember(key(nth), &svid, now);
        }
        let at = |seconds| now + SignedDuration::from_secs(seconds);
        assert!(caller.known(&key(0), at(149)).is_some() && caller.known(&key(0), at(150)).is_none());
        assert!(caller.known(&key(MOST_KNOWN), now).is_none(), "no room");
        assert!(caller.known(&Key { trust: 2, ..key(0) }, now).is_none(), "another bundle");
        assert!(callers.of(2, Instant::now()).known(&key(0), now).is_none(), "another user");
    }
}
