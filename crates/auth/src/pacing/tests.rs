use super::networks::{HELD, NETWORKS, OF_ONE};
use super::{ALL, EVENTS, PER_PROXY, Pacing, Share, Source};
use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Pacing {
    fn allows(&self, source: Source, now: Timestamp) -> bool {
        self.pause(source, now).is_zero()
    }

    /// Whether it was looked at.
    fn fails(&self, source: Source, now: Timestamp) -> bool {
        let looked_at = self.allows(source, now);
        if looked_at {
            self.failed(source, now);
        }
        looked_at
    }
}

impl Share {
    fn within(self, seconds: u32) -> f64 {
        [self.first, self.again].iter().map(|of| of.most + of.per_second * f64::from(seconds)).sum()
    }
}

fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

fn after(seconds: u32) -> Timestamp {
    start() + SignedDuration::from_secs(seconds.into())
}

/// Each in a /24 of its own.
fn address(n: u32) -> Source {
    Source { address: Some(IpAddr::V4(Ipv4Addr::from_bits(n.rotate_left(8)))), proxy: None }
}

/// Each in a /48 of its own, all of one provider.
fn of_a_provider(n: u32) -> Source {
    let bits = 0x2001_0db8 << 96 | u128::from(n) << 80 | 1;
    Source { address: Some(IpAddr::V6(Ipv6Addr::from_bits(bits))), proxy: None }
}

fn through(proxy: u128, source: Source) -> Source {
    Source { proxy: Some(access::HostId(uuid::Uuid::from_u128(proxy))), ..source }
}

/// An attacker with thousands of networks who fails as often as he may, for half an hour.
fn attacked(through: impl Fn(Source) -> Source, may: Share) {
    const SECONDS: u32 = 1_800;
    let (pacing, mut looked_at) = (Pacing::new(start()), 0);
    for second in 0..SECONDS {
        let now = after(second);
        let from = |n: u32| {
            through(if n.is_multiple_of(2) { address(n % 4_000) } else { of_a_provider(n % 60_000) })
        };
        for n in 0..400 {
            looked_at += u32::from(pacing.fails(from(second * 400 + n), now));
        }
        for honest in 0..3 {
            let honest = address(1_000_000 + 3 * second + honest);
            assert!(pacing.allows(through(honest), now), "after {second} s an honest stranger is held up");
        }
    }
    let most = may.within(SECONDS);
    assert!(f64::from(looked_at) <= most, "{looked_at} guesses, and {most} are allowed");
}

#[test]
fn who_fails_from_everywhere_holds_up_nobody_who_comes_for_the_first_time() {
    attacked(|source| source, ALL);
}

#[test]
fn nor_does_he_through_a_proxy() {
    attacked(|source| through(1, source), PER_PROXY);
}

/// He would have to fail from a fresh network each time; then it is as bad as it can be, and passes.
#[test]
fn guesses_stay_bounded_however_many_networks_there_are() {
    let (pacing, mut looked_at) = (Pacing::new(start()), 0);
    for second in 0..60 {
        for n in 0..2_000 {
            looked_at += u32::from(pacing.fails(address(second * 2_000 + n), after(second)));
        }
    }
    assert!(f64::from(looked_at) <= ALL.within(60), "{looked_at}");
    assert!(f64::from(looked_at) >= ALL.first.most, "{looked_at}");
    let late = address(9_999_999);
    assert!(!pacing.allows(late, after(59)));
    assert!(pacing.pause_of_member(late, after(59)).is_zero(), "members are not strangers");
    assert!(pacing.allows(late, after(60)));
}

/// Whoever has a whole provider's addresses is one stranger to those who have none of them.
#[test]
fn all_sites_of_one_provider_together_are_bounded() {
    let pacing = Pacing::new(start());
    let looked_at = (0..5_000).filter(|n| pacing.fails(of_a_provider(*n), start())).count();
    assert_eq!(looked_at, 600);
    assert!(pacing.allows(address(1), start()));
}

#[test]
fn a_failure_is_held_against_its_network_for_a_while() {
    let pacing = Pacing::new(start());
    let all = |from: u32| (from..from + 100).filter(|n| pacing.fails(address(*n), start())).count();
    let many = (0..).map(|n| all(n * 100)).take_while(|looked_at| *looked_at > 0).sum::<usize>();
    assert_eq!(many, ALL.first.most as usize, "each failed once");
    let again = (0..1_400).filter(|n| pacing.fails(address(*n), start())).count();
    assert_eq!(again, ALL.again.most as usize);
    assert!(!pacing.allows(address(1), start()) && !pacing.allows(Source::default(), start()));
    let later = start() + HELD;
    let spent = (20_000..35_000).filter(|n| pacing.fails(address(*n), later)).count();
    assert_eq!(spent, ALL.first.most as usize);
    assert!(!pacing.allows(address(1), later), "it is as good as new");
}

#[test]
fn a_proxy_cannot_spend_everybodys_budget() {
    let pacing = Pacing::new(start());
    let spent = (0..5_000).filter(|n| pacing.fails(through(1, address(*n)), start())).count();
    assert_eq!(spent, PER_PROXY.first.most as usize);
    assert!(!pacing.allows(through(1, address(4711)), start()), "however many addresses it names");
    assert!(pacing.allows(through(2, address(4711)), start()));
    assert!(pacing.allows(address(4711), start()));
    assert!(pacing.allows(through(1, address(4711)), after(1)), "it earns tries back");
}

#[test]
fn not_every_failure_is_told_and_none_is_forgotten() {
    let pacing = Pacing::new(start());
    let told = (0..1000).filter(|_| pacing.tells(start()).is_some()).count();
    assert_eq!(told, EVENTS.most as usize);
    assert_eq!(pacing.tells(after(60)), Some(1000 - told as u64));
    assert_eq!(pacing.tells(after(60)), Some(0));
}

#[test]
fn one_address_is_stopped_and_others_are_not() {
    let pacing = Pacing::new(start());
    let spent = (0..100).filter(|_| pacing.fails(address(1), start())).count();
    assert_eq!(spent, OF_ONE.most as usize);
    assert!(!pacing.allows(address(1), start()));
    assert!(pacing.allows(address(2), start()));
    assert!(pacing.allows(Source::default(), start()));
    assert!(pacing.allows(address(1), after(1)), "it earns tries back");
}

#[test]
fn the_addresses_of_one_network_are_one_stranger() {
    let pacing = Pacing::new(start());
    let of = |text: &str| Source { address: text.parse().ok(), proxy: None };
    let spent = (0..100).filter(|n| pacing.fails(of(&format!("2001:db8:1:2:{n:x}::1")), start())).count();
    assert_eq!(spent, OF_ONE.most as usize);
    assert!(!pacing.allows(of("2001:db8:1:2::4711"), start()), "whatever address it takes of its own");
    assert!(pacing.allows(of("2001:db8:1:3::4711"), start()));
    assert_eq!(pacing.buckets().networks.len(), 3);
    let site = (0..200).filter(|n| pacing.fails(of(&format!("2001:db8:1:{n:x}::1")), start())).count();
    assert_eq!(spent + site, 180, "nor whatever /64 of its /48");
    assert!(pacing.allows(of("2001:db8:2:3::4711"), start()));
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
    for n in 0..2 * NETWORKS as u32 {
        pacing.failed(address(n), start());
    }
    assert!(pacing.buckets().networks.len() <= NETWORKS);
    pacing.failed(address(u32::MAX), after(3600));
    assert_eq!(pacing.buckets().networks.len(), 2, "what has recovered is forgotten");
}
