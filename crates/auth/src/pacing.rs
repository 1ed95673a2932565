//! How often strangers may be wrong, and how many of the failures that prove nothing are written down; and what each member may
//! cause ([`Budgets`], [`Refusals`]).
//!
//! Only failures are charged, so that a thousand hosts may join through one address at once. Each is charged to the networks
//! that it came from, to the proxy that passed it on and to all together; and in the last two, apart by whether its
//! sender had failed before. So whoever fails at will from wherever he can spends what there is for those like him, and
//! holds up nobody who comes for the first time: to do that he needs fresh networks all the time, which run out, because a
//! failure is held against a network for some minutes. What all together may guess stays bounded by the sum.

mod bucket;
mod budgets;
mod networks;
mod refusals;

pub use bucket::Pace;
pub use budgets::{Budgets, Spender, Spending};
pub use networks::network;
pub use refusals::Refusals;

use access::HostId;
use bucket::{Bucket, Budget};
use jiff::Timestamp;
use networks::Networks;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

/// The failures that all strangers may make.
const ALL: Share = Share {
    first: Budget { most: 10_000.0, per_second: 40.0 },
    again: Budget { most: 1_000.0, per_second: 30.0 },
};
/// The same for all whose calls one proxy passes on: it could invent their addresses.
const PER_PROXY: Share = Share {
    first: Budget { most: 4_000.0, per_second: 20.0 },
    again: Budget { most: 400.0, per_second: 5.0 },
};
/// Events about failures of those who proved nothing; the others are only counted.
const EVENTS: Budget = Budget { most: 20.0, per_second: 0.2 };

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
    all: Shared,
    networks: Networks,
    /// Not more than there are enrolled proxies.
    by_proxy: HashMap<HostId, Shared>,
    events: Bucket,
    untold: u64,
}

/// What many share.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// Failures of those who had not failed of late. Many at once, because the same networks cannot spend it again soon.
    first: Budget,
    /// Failures of the others, and of those of whom that is not known.
    again: Budget,
}

/// What is left of it.
#[derive(Debug)]
struct Shared {
    first: Bucket,
    again: Bucket,
}

impl Pacing {
    /// Nobody has failed yet.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Buckets {
            all: Shared::full(ALL, now),
            networks: Networks::new(now),
            by_proxy: HashMap::new(),
            events: Bucket::full(EVENTS, now),
            untold: 0,
        }))
    }

    /// How long a caller from there has to wait; nothing when it may try. Costs nothing.
    pub fn pause(&self, source: Source, now: Timestamp) -> Duration {
        let mut buckets = self.buckets();
        let again = buckets.fails_again(source, now);
        let all = buckets.all.pause(ALL, again, now);
        let proxy = source.proxy.and_then(|proxy| buckets.by_proxy.get_mut(&proxy));
        let proxy = proxy.map(|shared| shared.pause(PER_PROXY, again, now)).unwrap_or_default();
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

    /// Charges a failure to everything that it came through, and to what all share.
    pub fn failed(&self, source: Source, now: Timestamp) {
        let mut buckets = self.buckets();
        let again = buckets.fails_again(source, now);
        buckets.all.charge(ALL, again, now);
        if let Some(proxy) = source.proxy {
            let shared = buckets.by_proxy.entry(proxy).or_insert_with(|| Shared::full(PER_PROXY, now));
            shared.charge(PER_PROXY, again, now);
        }
        if let Some(address) = source.address {
            buckets.networks.failed(address, now);
        }
    }

    fn buckets(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Buckets {
    fn pause_of(&mut self, source: Source, now: Timestamp) -> Duration {
        source.address.map(|address| self.networks.pause(address, now)).unwrap_or_default()
    }

    /// Whether a failure from there would not be the first. What has no address of its own cannot be told apart from what
    /// has failed before.
    fn fails_again(&self, source: Source, now: Timestamp) -> bool {
        source.address.is_none_or(|address| self.networks.has_failed(address, now))
    }
}

impl Shared {
    fn full(share: Share, now: Timestamp) -> Self {
        Self { first: Bucket::full(share.first, now), again: Bucket::full(share.again, now) }
    }

    fn of(&mut self, share: Share, again: bool) -> (&mut Bucket, Budget) {
        match again {
            true => (&mut self.again, share.again),
            false => (&mut self.first, share.first),
        }
    }

    fn pause(&mut self, share: Share, again: bool, now: Timestamp) -> Duration {
        let (bucket, budget) = self.of(share, again);
        bucket.pause(budget, now)
    }

    fn charge(&mut self, share: Share, again: bool, now: Timestamp) {
        let (bucket, budget) = self.of(share, again);
        bucket.charge(budget, now);
    }
}

#[cfg(test)]
mod tests;
