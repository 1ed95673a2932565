//! How often strangers may be wrong: a budget of failures for each address (of IPv6, each
//! /64), for each proxy that passes them on, and one
//! for all together. And how many of the failures that prove nothing are written down.
//!
//! Only failures are charged, so that a thousand hosts may join through one address at once. Memory is bounded;
//! when too many addresses fail at once the ones that do not fit share the common budget alone.

use access::HostId;
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

/// The failures one address may make at once, and those it earns back each second.
const PER_ADDRESS: Budget = Budget { most: 60.0, per_second: 1.0 };
/// The same for all addresses together.
const ALL: Budget = Budget { most: 2_000.0, per_second: 100.0 };
/// The same for all whose calls one proxy passes on.
const PER_PROXY: Budget = Budget { most: 600.0, per_second: 20.0 };
/// Events about failures of those who proved nothing; the others are only counted.
const EVENTS: Budget = Budget { most: 20.0, per_second: 0.2 };
/// Addresses remembered at once.
const ADDRESSES: usize = 10_000;

/// The network that an address stands for: whoever has one IPv6 address has all 2^64 of its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
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

/// Whom a failure is charged to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source {
    /// The stranger's address; none when it is shared, as a proxy's is.
    pub address: Option<IpAddr>,
    /// The proxy that passed the call on.
    pub proxy: Option<HostId>,
}

/// Failures of strangers, by where they come from.
#[derive(Debug)]
pub struct Pacing(Mutex<Buckets>);

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    /// By [`network`].
    by_address: HashMap<IpAddr, Bucket>,
    /// Not more than there are enrolled proxies.
    by_proxy: HashMap<HostId, Bucket>,
    events: Bucket,
    untold: u64,
    swept: Timestamp,
}

impl Pacing {
    /// Nobody has failed yet.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Buckets {
            all: Bucket::full(ALL, now),
            by_address: HashMap::new(),
            by_proxy: HashMap::new(),
            events: Bucket::full(EVENTS, now),
            untold: 0,
            swept: now,
        }))
    }

    /// How long a caller from there has to wait; nothing when it may try. Costs nothing.
    pub fn pause(&self, source: Source, now: Timestamp) -> Duration {
        let mut buckets = self.buckets();
        let all = buckets.all.pause(ALL, now);
        let proxy = source.proxy.and_then(|proxy| buckets.by_proxy.get_mut(&proxy));
        let proxy = proxy.map(|bucket| bucket.pause(PER_PROXY, now)).unwrap_or_default();
        all.max(proxy).max(buckets.pause_of(source, now))
    }

    /// The same for whoever shows a certificate that is valid: what strangers do wrong does not hold up members.
    pub fn pause_of_member(&self, source: Source, now: Timestamp) -> Duration {
        self.buckets().pause_of(source, now)
    }

    /// Whether a failure that proves nothing is written down now; with how many since the last one that were not.
    pub fn tells(&self, now: Timestamp) -> Option<u64> {
        let mut buckets = self.buckets();
        if buckets.events.level(EVENTS, now) < 1.0 {
            buckets.untold += 1;
            return None;
        }
        buckets.events.charge(EVENTS, now);
        Some(std::mem::take(&mut buckets.untold))
    }

    /// Charges a failure to everything that it came through, and to the common budget.
    pub fn failed(&self, source: Source, now: Timestamp) {
        let mut buckets = self.buckets();
        buckets.all.charge(ALL, now);
        if let Some(proxy) = source.proxy {
            let bucket = buckets.by_proxy.entry(proxy).or_insert_with(|| Bucket::full(PER_PROXY, now));
            bucket.charge(PER_PROXY, now);
        }
        let Some(address) = source.address.map(network) else { return };
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
    /// For what came from that address alone.
    fn pause_of(&mut self, source: Source, now: Timestamp) -> Duration {
        let own = source.address.and_then(|address| self.by_address.get_mut(&network(address)));
        own.map(|bucket| bucket.pause(PER_ADDRESS, now)).unwrap_or_default()
    }

    /// Forgets who has recovered; not more often than once a second, because it looks at everybody.
    fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept).as_secs() < 1 {
            return;
        }
        self.swept = now;
        self.by_address.retain(|_, bucket| bucket.level(PER_ADDRESS, now) < PER_ADDRESS.most);
    }
}

#[derive(Debug, Clone, Copy)]
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

    /// Until it has earned one back, and a second more: others wait for the same one.
    fn pause(&mut self, budget: Budget, now: Timestamp) -> Duration {
        let missing = 1.0 - self.level(budget, now);
        match missing > 0.0 {
            true => Duration::from_secs(1) + Duration::from_secs_f64(missing / budget.per_second),
            false => Duration::ZERO,
        }
    }

    fn charge(&mut self, budget: Budget, now: Timestamp) {
        self.left = (self.level(budget, now) - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, EVENTS, PER_ADDRESS, PER_PROXY, Pacing, Source};
    use jiff::{SignedDuration, Timestamp};
    use std::net::{IpAddr, Ipv4Addr};

    impl Pacing {
        fn allows(&self, source: Source, now: Timestamp) -> bool {
            self.pause(source, now).is_zero()
        }
    }

    fn start() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a valid time")
    }

    fn address(n: u32) -> Source {
        Source { address: Some(IpAddr::V4(Ipv4Addr::from_bits(n))), proxy: None }
    }

    #[test]
    fn a_proxy_cannot_spend_everybodys_budget() {
        let pacing = Pacing::new(start());
        let through = |proxy: u128, n: u32| Source {
            proxy: Some(access::HostId(uuid::Uuid::from_u128(proxy))),
            ..address(n)
        };
        for n in 0..PER_PROXY.most as u32 {
            assert!(pacing.allows(through(1, n), start()));
            pacing.failed(through(1, n), start());
        }
        assert!(!pacing.allows(through(1, 4711), start()), "however many addresses it names");
        assert!(pacing.allows(through(2, 4711), start()));
        assert!(pacing.allows(address(4711), start()));
        assert!(
            pacing.allows(through(1, 4711), start() + SignedDuration::from_secs(1)),
            "it earns tries back"
        );
    }

    #[test]
    fn not_every_failure_is_told_and_none_is_forgotten() {
        let pacing = Pacing::new(start());
        let told = (0..1000).filter(|_| pacing.tells(start()).is_some()).count();
        assert_eq!(told, EVENTS.most as usize);
        let later = start() + SignedDuration::from_mins(1);
        assert_eq!(pacing.tells(later), Some(1000 - told as u64));
        assert_eq!(pacing.tells(later), Some(0));
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
        assert!(pacing.allows(Source::default(), start()));
        assert!(pacing.allows(address(1), start() + SignedDuration::from_secs(1)), "it earns tries back");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_stranger() {
        let pacing = Pacing::new(start());
        let of = |text: &str| Source { address: text.parse().ok(), proxy: None };
        for n in 0..PER_ADDRESS.most as u32 {
            let source = of(&format!("2001:db8:1:2:{n:x}::1"));
            assert!(pacing.allows(source, start()));
            pacing.failed(source, start());
        }
        assert!(!pacing.allows(of("2001:db8:1:2::4711"), start()), "whatever address it takes of its own");
        assert!(pacing.allows(of("2001:db8:1:3::4711"), start()));
        assert_eq!(pacing.buckets().by_address.len(), 1);
        assert_eq!(
            super::network("::ffff:192.0.2.7".parse().expect("an address")),
            IpAddr::from([192, 0, 2, 7])
        );
    }

    #[test]
    fn a_pace_is_kept_whoever_asks() {
        let pace = super::Pace::new(3, 1, start());
        assert_eq!((0..10).filter(|_| pace.takes(start())).count(), 3);
        let later = start() + SignedDuration::from_secs(2);
        assert_eq!((0..10).filter(|_| pace.takes(later)).count(), 2);
    }

    #[test]
    fn all_together_are_stopped_and_recover() {
        let pacing = Pacing::new(start());
        for n in 0..2_000 {
            pacing.failed(address(n), start());
        }
        assert!(!pacing.allows(address(9_999_999), start()));
        assert!(pacing.pause_of_member(address(9_999_999), start()).is_zero(), "members are not strangers");
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
