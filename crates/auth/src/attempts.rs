//! Refused attempts to join, for `tctl join explain`: what was asked of each joiner and what it showed. In memory, bounded,
//! for a day; the audit log has the reason for longer.

use crate::pacing::network;
use api::v1::{ExplainJoinResponse, JoinCheck};
use jiff::{SignedDuration, Timestamp};
use join::oidc::Check;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long one is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// In all, and from one network: a stranger forgets its own, not those of others.
const ALL: Room = Room { attempts: 1024, bytes: 4 * 1024 * 1024 };
const OF_ONE: Room = Room { attempts: 64, bytes: 256 * 1024 };
/// The most bytes of one attempt; further checks are left out.
const LONGEST: usize = 32 * 1024;
/// What an attempt and a check take besides their texts.
const OVERHEAD: usize = 256;

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

/// The attempts, the oldest first.
#[derive(Default)]
pub struct Attempts(Mutex<VecDeque<Kept>>);

struct Kept {
    refusal: Refusal,
    /// Whose room it takes: see [`network`].
    network: Option<IpAddr>,
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
struct Room {
    attempts: usize,
    bytes: usize,
}

impl Attempts {
    /// Remembers one; a further try of an attempt takes the place of the one before.
    pub fn remember(&self, mut refusal: Refusal) {
        shorten(&mut refusal.told);
        let new = Kept {
            network: refusal.from.map(network),
            bytes: size(&refusal.told) + refusal.attempt.len(),
            refusal,
        };
        let mut all = self.all();
        let (attempt, at) = (&new.refusal.attempt, new.refusal.at);
        all.retain(|kept| kept.refusal.attempt != *attempt && at.duration_since(kept.refusal.at) <= KEPT);
        while !OF_ONE.holds(taken(&all, new.network), new.bytes) {
            forget(&mut all, new.network);
        }
        while !ALL.holds(Room::of(all.iter()), new.bytes) {
            let most = fullest(&all);
            forget(&mut all, most);
        }
        all.push_back(new);
    }

    /// What is known of an attempt.
    pub fn find(&self, attempt: &str, now: Timestamp) -> Option<ExplainJoinResponse> {
        let all = self.all();
        let found = all.iter().map(|kept| &kept.refusal).find(|refusal| refusal.attempt == attempt)?;
        (now.duration_since(found.at) <= KEPT).then(|| found.told.clone())
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn of<'k>(kept: impl Iterator<Item = &'k Kept>) -> Self {
        kept.fold(Self::default(), Self::with)
    }

    fn with(self, kept: &Kept) -> Self {
        Self { attempts: self.attempts + 1, bytes: self.bytes + kept.bytes }
    }

    /// Whether there is room for one more attempt of so many bytes.
    fn holds(self, taken: Self, bytes: usize) -> bool {
        taken.attempts < self.attempts && taken.bytes + bytes <= self.bytes
    }
}

fn taken(all: &VecDeque<Kept>, network: Option<IpAddr>) -> Room {
    Room::of(all.iter().filter(|kept| kept.network == network))
}

/// The network that takes the most room: it gives way, so that many strangers forget their own, too.
fn fullest(all: &VecDeque<Kept>) -> Option<IpAddr> {
    let mut networks: HashMap<Option<IpAddr>, Room> = HashMap::new();
    for kept in all {
        let room = networks.entry(kept.network).or_default();
        *room = room.with(kept);
    }
    networks.into_iter().max_by_key(|(_, room)| room.bytes).and_then(|(network, _)| network)
}

/// Forgets the oldest of a network.
fn forget(all: &mut VecDeque<Kept>, network: Option<IpAddr>) {
    match all.iter().position(|kept| kept.network == network) {
        Some(oldest) => drop(all.remove(oldest)),
        None => drop(all.pop_front()),
    }
}

fn size(told: &ExplainJoinResponse) -> usize {
    let ExplainJoinResponse { at, code, reason, method, token_name, role, remote_addr, checks } = told;
    let texts = [at, code, reason, method, token_name, role, remote_addr];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    OVERHEAD + texts + checks.iter().map(size_of_check).sum::<usize>()
}

fn size_of_check(check: &JoinCheck) -> usize {
    OVERHEAD + check.field.len() + check.wanted.len() + check.found.len()
}

/// Leaves out what does not fit.
fn shorten(told: &mut ExplainJoinResponse) {
    told.reason = told.reason.chars().take(1024).collect();
    let checks = std::mem::take(&mut told.checks);
    let mut room = LONGEST.saturating_sub(size(told));
    told.checks.extend(checks.into_iter().map_while(|check| {
        room = room.checked_sub(size_of_check(&check))?;
        Some(check)
    }));
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
    use super::{ALL, Attempts, ExplainJoinResponse, JoinCheck, KEPT, LONGEST, OF_ONE, Refusal, Room};
    use jiff::{SignedDuration, Timestamp};

    fn refused(attempts: &Attempts, attempt: &str, from: &str, at: Timestamp) {
        let told = ExplainJoinResponse { reason: at.to_string(), ..ExplainJoinResponse::default() };
        attempts.remember(Refusal { attempt: attempt.to_owned(), from: from.parse().ok(), at, told });
    }

    #[test]
    fn they_are_kept_for_a_day_and_strangers_forget_their_own() {
        let (attempts, start) = (Attempts::default(), Timestamp::UNIX_EPOCH);
        refused(&attempts, "mine", "192.0.2.1", start);
        let later = start + SignedDuration::from_secs(1);
        refused(&attempts, "mine", "192.0.2.1", later);
        for n in 0..OF_ONE.attempts + 10 {
            refused(&attempts, &format!("flood-{n}"), "192.0.2.2", later);
        }
        assert_eq!(attempts.find("mine", later).map(|told| told.reason), Some(later.to_string()));
        assert_eq!(attempts.find("flood-0", later), None);
        assert_eq!(attempts.all().len(), 1 + OF_ONE.attempts);
        assert_eq!(attempts.find("mine", later + KEPT + SignedDuration::from_secs(1)), None);
    }

    #[test]
    fn many_addresses_of_one_network_are_one_stranger() {
        let (attempts, now) = (Attempts::default(), Timestamp::UNIX_EPOCH);
        refused(&attempts, "mine", "2001:db8:1:1::1", now);
        for n in 0..2 * ALL.attempts {
            refused(&attempts, &format!("flood-{n}"), &format!("2001:db8:6:6:{n:x}::1"), now);
        }
        assert!(attempts.find("mine", now).is_some());
        assert_eq!(attempts.all().len(), 1 + OF_ONE.attempts);
    }

    #[test]
    fn who_takes_the_most_room_gives_way() {
        let (attempts, now) = (Attempts::default(), Timestamp::UNIX_EPOCH);
        refused(&attempts, "mine", "192.0.2.1", now);
        for n in 0..4 * ALL.attempts {
            refused(&attempts, &format!("n-{n}"), &format!("198.51.100.{}", n % 100), now);
        }
        assert_eq!(attempts.all().len(), ALL.attempts);
        assert!(attempts.find("mine", now).is_some());
    }

    #[test]
    fn memory_is_bounded_in_bytes() {
        let (attempts, at) = (Attempts::default(), Timestamp::UNIX_EPOCH);
        let long = "\u{10ffff}".repeat(512);
        let check = JoinCheck { wanted: long.clone(), found: long.clone(), ..JoinCheck::default() };
        for n in 0..ALL.attempts {
            let told = ExplainJoinResponse {
                reason: long.clone(),
                checks: vec![check.clone(); 1000],
                ..ExplainJoinResponse::default()
            };
            let from = std::net::IpAddr::from([192, 0, 2, (n % 250) as u8]);
            attempts.remember(Refusal { attempt: format!("n-{n}"), from: Some(from), at, told });
        }
        let all = attempts.all();
        let in_all = Room::of(all.iter());
        assert!(in_all.bytes <= ALL.bytes && in_all.bytes > ALL.bytes - LONGEST, "{}", in_all.bytes);
        assert!(all.iter().all(|kept| kept.bytes <= LONGEST + 16));
        drop(all);
        let told = attempts.find("n-1023", at).expect("the newest is there");
        assert!((5..20).contains(&told.checks.len()), "as many as fit: {}", told.checks.len());
    }
}
