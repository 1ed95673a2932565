//! The critical option `source-address`: a comma-separated list of networks (PROTOCOL.certkeys), read strictly.
//! Present but empty means nowhere, never everywhere.

use crate::Refusal;
use std::net::{IpAddr, Ipv6Addr};

const MAX_NETWORKS: usize = 64;

/// One network; both the address and what it is compared with are [canonical].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `peer` is in it.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let (network, width) = bits(self.address);
        let (peer, peer_width) = bits(canonical(peer));
        width == peer_width && (network ^ peer) & mask(self.prefix, width) == 0
    }

    /// Whether it is one address.
    pub fn is_single(&self) -> bool {
        self.prefix == bits(self.address).1
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

/// An IPv4 address that came in as IPv6 is the IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The list of one address.
pub fn single(address: IpAddr) -> String {
    let address = canonical(address);
    format!("{address}/{}", bits(address).1)
}

/// Reads a list; an entry without a length is one address.
pub fn parse(list: &str) -> Result<Vec<Network>, Refusal> {
    let networks: Vec<Network> =
        list.split(',').take(MAX_NETWORKS + 1).map(network).collect::<Result<_, _>>()?;
    match networks.len() {
        1..=MAX_NETWORKS => Ok(networks),
        _ => Err(Refusal::BadSourceAddress),
    }
}

/// Refuses unless the peer is known and in the list.
pub(crate) fn check(list: &str, peer: Option<IpAddr>) -> Result<(), Refusal> {
    let networks = parse(list)?;
    match peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer))) {
        true => Ok(()),
        false => Err(Refusal::WrongSourceAddress { peer }),
    }
}

fn network(entry: &str) -> Result<Network, Refusal> {
    let (address, length) = match entry.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().map_err(|_| Refusal::BadSourceAddress)?;
    let (_, width) = bits(address);
    let prefix = length.map_or(Some(width), |length| decimal(length, width));
    let network = Network { address, prefix: prefix.ok_or(Refusal::BadSourceAddress)? };
    let (value, _) = bits(address);
    match value & !mask(network.prefix, width) & mask(width, width) {
        0 => mapped(network),
        _ => Err(Refusal::BadSourceAddress),
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`; a shorter prefix than 96 holds no IPv4 at all.
fn mapped(network: Network) -> Result<Network, Refusal> {
    match (network.address, canonical(network.address)) {
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if network.prefix >= 96 => {
            Ok(Network { address: v4, prefix: network.prefix - 96 })
        }
        (IpAddr::V6(_), IpAddr::V4(_)) => Err(Refusal::BadSourceAddress),
        _ => Ok(network),
    }
}

/// Digits only, no sign, no leading zero.
fn decimal(text: &str, limit: u8) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let value: u8 = plain.then(|| text.parse().ok()).flatten()?;
    (value <= limit).then_some(value)
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (Ipv6Addr::to_bits(v6), 128),
    }
}

/// The first `prefix` of `width` bits.
fn mask(prefix: u8, width: u8) -> u128 {
    let all = u128::MAX >> (128 - u32::from(width));
    match u32::from(width - prefix) {
        128 => 0,
        host => (all >> host) << host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allows(list: &str, peer: &str) -> Result<(), &'static str> {
        check(list, Some(peer.parse().expect("an address"))).map_err(|refusal| refusal.code())
    }

    #[test]
    fn membership() {
        for (list, peer) in [
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.0.0.7", "10.0.0.7"),
            ("192.0.2.0/24,10.0.0.7/32", "10.0.0.7"),
            ("10.0.0.7/32", "::ffff:10.0.0.7"),
            ("::ffff:10.0.0.7/128", "10.0.0.7"),
            ("::ffff:10.0.0.0/104", "10.9.9.9"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:1::1"),
            ("::/0", "2001:db8::1"),
        ] {
            assert_eq!(allows(list, peer), Ok(()), "{list} {peer}");
        }
        for (list, peer) in [("10.0.0.7/32", "10.0.0.8"), ("0.0.0.0/0", "2001:db8::1"), ("::/0", "10.0.0.1")]
        {
            assert_eq!(allows(list, peer), Err("wrong_source_address"), "{list} {peer}");
        }
        assert!(check("10.0.0.0/8", None).is_err());
    }

    #[test]
    fn odd_lists_are_refused() {
        for list in [
            "",
            ",",
            "10.0.0.1,",
            "10.0.0.1/33",
            "10.0.0.1/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "!10.0.0.1",
            "10.0.0.*",
            " 10.0.0.1",
            "010.0.0.1",
            "::ffff:0.0.0.0/95",
            "host",
            "2001:db8::1/129",
        ] {
            assert_eq!(allows(list, "10.0.0.1"), Err("bad_source_address"), "{list:?}");
        }
        assert!(parse(&vec!["10.0.0.1"; 65].join(",")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn one_address_is_itself(v6 in any::<u128>(), v4 in any::<u32>(), other in any::<u32>()) {
            for address in [IpAddr::from(v6.to_be_bytes()), IpAddr::from(v4.to_be_bytes())] {
                prop_assert!(check(&single(address), Some(address)).is_ok());
                let other = IpAddr::from(other.to_be_bytes());
                prop_assert_eq!(check(&single(address), Some(other)).is_ok(), other == canonical(address));
            }
        }
    }
}
