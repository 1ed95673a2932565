//! Where failures came from: each counts for the address and for the networks around it, because whoever has one address
//! of a network often has all of them. Memory is bounded.

use super::bucket::{Bucket, Budget};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Networks of a size, by the length of their prefix, and the failures of each.
#[derive(Debug, Clone, Copy)]
struct Size {
    prefix: u8,
    budget: Budget,
}

/// One address, or what the poorest customer of an IPv6 provider has.
pub(super) const OF_ONE: Budget = Budget { most: 60.0, per_second: 1.0 };
/// A site of IPv6, which anybody gets for nothing.
const OF_A_SITE: Budget = Budget { most: 180.0, per_second: 3.0 };
/// What takes money to have: a /24 of IPv4, or all that an IPv6 provider is given. Others are in it too.
const OF_MANY: Budget = Budget { most: 600.0, per_second: 10.0 };

const V4: [Size; 2] = [Size { prefix: 32, budget: OF_ONE }, Size { prefix: 24, budget: OF_MANY }];
const V6: [Size; 3] = [
    Size { prefix: 64, budget: OF_ONE },
    Size { prefix: 48, budget: OF_A_SITE },
    Size { prefix: 32, budget: OF_MANY },
];
/// What may have failed before as a whole: an address of IPv4, a site of IPv6.
const WHOLE_V4: u8 = 32;
const WHOLE_V6: u8 = 48;

/// How long a failure is held against whoever comes from the same place.
pub(super) const HELD: SignedDuration = SignedDuration::from_mins(10);
/// Networks remembered at once.
pub(super) const NETWORKS: usize = 65_536;

/// The network that an address stands for: whoever has one IPv6 address has all 2^64 of its /64.
pub fn network(address: IpAddr) -> IpAddr {
    let prefix = if address.to_canonical().is_ipv4() { V4[0].prefix } else { V6[0].prefix };
    around(address, prefix).0
}

/// The network of that size around an address.
fn around(address: IpAddr, prefix: u8) -> (IpAddr, u8) {
    let start = match address.to_canonical() {
        IpAddr::V4(v4) => {
            let host = 32u32.saturating_sub(prefix.into());
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() >> host << host))
        }
        IpAddr::V6(v6) => {
            let host = 128u32.saturating_sub(prefix.into());
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> host << host))
        }
    };
    (start, prefix)
}

fn sizes(address: IpAddr) -> &'static [Size] {
    if address.to_canonical().is_ipv4() { &V4 } else { &V6 }
}

/// Networks with failures.
#[derive(Debug)]
pub(super) struct Networks {
    known: HashMap<(IpAddr, u8), Known>,
    swept: Timestamp,
}

#[derive(Debug)]
struct Known {
    budget: Budget,
    bucket: Bucket,
    /// The last time.
    failed: Timestamp,
}

impl Known {
    fn is_held(&self, now: Timestamp) -> bool {
        now.duration_since(self.failed) < HELD
    }
}

impl Networks {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { known: HashMap::new(), swept: now }
    }

    /// For what came from around there alone.
    pub(super) fn pause(&mut self, address: IpAddr, now: Timestamp) -> Duration {
        let pauses = sizes(address).iter().filter_map(|size| {
            let known = self.known.get_mut(&around(address, size.prefix))?;
            Some(known.bucket.pause(size.budget, now))
        });
        pauses.max().unwrap_or_default()
    }

    /// Whether somebody from there has failed of late.
    pub(super) fn has_failed(&self, address: IpAddr, now: Timestamp) -> bool {
        let whole = if address.to_canonical().is_ipv4() { WHOLE_V4 } else { WHOLE_V6 };
        self.known.get(&around(address, whole)).is_some_and(|known| known.is_held(now))
    }

    pub(super) fn failed(&mut self, address: IpAddr, now: Timestamp) {
        for Size { prefix, budget } in sizes(address) {
            let network = around(address, *prefix);
            if !self.known.contains_key(&network) && !self.has_room(now) {
                continue;
            }
            let new = || Known { budget: *budget, bucket: Bucket::full(*budget, now), failed: now };
            let known = self.known.entry(network).or_insert_with(new);
            known.bucket.charge(*budget, now);
            known.failed = known.failed.max(now);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.known.len() >= NETWORKS {
            self.sweep(now);
        }
        self.known.len() < NETWORKS
    }

    /// Forgets who has recovered; not more often than once a second, because it looks at everybody.
    fn sweep(&mut self, now: Timestamp) {
        if now.duration_since(self.swept).as_secs() < 1 {
            return;
        }
        self.swept = now;
        self.known.retain(|_, known| {
            known.is_held(now) || known.bucket.level(known.budget, now) < known.budget.most
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{around, network};
    use std::net::IpAddr;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_are_cut_where_their_prefix_ends() {
        let table = [
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 24, "192.0.2.0"),
            ("::ffff:192.0.2.77", 24, "192.0.2.0"),
            ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3::4", 48, "2001:db8:1::"),
            ("2001:db8:1:2:3::4", 32, "2001:db8::"),
        ];
        for (address, prefix, start) in table {
            assert_eq!(around(ip(address), prefix), (ip(start), prefix), "{address}/{prefix}");
        }
        assert_eq!(network(ip("::ffff:192.0.2.7")), ip("192.0.2.7"));
        assert_eq!(network(ip("2001:db8:1:2:3::4")), ip("2001:db8:1:2::"));
    }
}
