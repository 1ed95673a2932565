//! How often strangers may be wrong: a budget of failures for each address and one for all together.
//!
//! Only failures are charged, so that a thousand hosts may join through one address at once. Memory is bounded;
//! when too many addresses fail at once the ones that do not fit share the common budget alone.

use jiff::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// The failures one address may make at once, and those it earns back each second.
const PER_ADDRESS: Budget = Budget { most: 60.0, per_second: 1.0 };
/// The same for all addresses together.
const ALL: Budget = Budget { most: 2_000.0, per_second: 100.0 };
/// Addresses remembered at once.
const ADDRESSES: usize = 10_000;

/// Failures of strangers, by address.
#[derive(Debug)]
pub struct Pacing(Mutex<Buckets>);

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    by_address: HashMap<IpAddr, Bucket>,
    swept: Timestamp,
}

impl Pacing {
    /// Nobody has failed yet.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Buckets { all: Bucket::full(ALL, now), by_address: HashMap::new(), swept: now }))
    }

    /// Whether a caller from `address` may try. Costs nothing.
    pub fn allows(&self, address: Option<IpAddr>, now: Timestamp) -> bool {
        let mut buckets = self.buckets();
        let own = address.and_then(|address| buckets.by_address.get_mut(&address));
        let own = own.is_none_or(|bucket| bucket.level(PER_ADDRESS, now) >= 1.0);
        own && buckets.all.level(ALL, now) >= 1.0
    }

    /// Charges a failure. A missing address (a shared one, such as a proxy's) charges the common budget only.
    pub fn failed(&self, address: Option<IpAddr>, now: Timestamp) {
        let mut buckets = self.buckets();
        buckets.all.charge(ALL, now);
        let Some(address) = address else { return };
        if !buckets.by_address.contains_key(&address) && buckets.by_address.len() >= ADDRESSES {
            buckets.sweep(now);
            if buckets.by_address.len() >= ADDRESSES {
                return;
            }
        }
        buckets
            .by_address
            .entry(address)
            .or_insert_with(|| Bucket::full(PER_ADDRESS, now))
            .charge(PER_ADDRESS, now);
    }

    fn buckets(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Buckets {
    /// Forgets who has recovered; not more often than once a second, because it looks at everybody.
    fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept).as_secs() < 1 {
            return;
        }
        self.swept = now;
        self.by_address.retain(|_, bucket| bucket.level(PER_ADDRESS, now) < PER_ADDRESS.most);
    }
}

#[derive(Clone, Copy)]
struct Budget {
    most: f64,
    per_second: f64,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn full(budget: Budget, now: Timestamp) -> Self {
        Self { left: budget.most, at: now }
    }

    fn level(&mut self, budget: Budget, now: Timestamp) -> f64 {
        let earned = now.duration_since(self.at).as_secs_f64().max(0.0) * budget.per_second;
        self.left = (self.left + earned).min(budget.most);
        self.at = self.at.max(now);
        self.left
    }

    fn charge(&mut self, budget: Budget, now: Timestamp) {
        self.left = (self.level(budget, now) - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, PER_ADDRESS, Pacing};
    use jiff::{SignedDuration, Timestamp};
    use std::net::{IpAddr, Ipv4Addr};

    fn start() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a valid time")
    }

    fn address(n: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    #[test]
    fn one_address_is_stopped_and_others_are_not() {
        let pacing = Pacing::new(start());
        for _ in 0..PER_ADDRESS.most as u32 {
            assert!(pacing.allows(address(1), start()));
            pacing.failed(address(1), start());
        }
        assert!(!pacing.allows(address(1), start()));
        assert!(pacing.allows(address(2), start()));
        assert!(pacing.allows(None, start()));
        assert!(pacing.allows(address(1), start() + SignedDuration::from_secs(1)), "it earns tries back");
    }

    #[test]
    fn all_together_are_stopped_and_recover() {
        let pacing = Pacing::new(start());
        for n in 0..2_000 {
            pacing.failed(address(n), start());
        }
        assert!(!pacing.allows(address(9_999_999), start()));
        assert!(pacing.allows(address(9_999_999), start() + SignedDuration::from_secs(1)));
    }

    #[test]
    fn a_clock_that_goes_back_neither_earns_nor_loses() {
        let pacing = Pacing::new(start());
        pacing.failed(address(1), start());
        let past = start() - SignedDuration::from_hours(1);
        assert!(pacing.allows(address(1), past));
        pacing.failed(address(1), past);
        assert!(pacing.allows(address(1), start()));
    }

    #[test]
    fn memory_is_bounded() {
        let pacing = Pacing::new(start());
        for n in 0..2 * ADDRESSES as u32 {
            pacing.failed(address(n), start());
        }
        assert!(pacing.buckets().by_address.len() <= ADDRESSES);
        let later = start() + SignedDuration::from_secs(3600);
        pacing.failed(address(u32::MAX), later);
        assert!(pacing.buckets().by_address.len() == 1, "what has recovered is forgotten");
    }
}
