//! Names of workloads: SPIFFE IDs (SPIFFE-ID, sections 2.1 to 2.3), and what may stand beside one in an X.509-SVID.

use crate::ClusterName;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest SPIFFE ID in bytes.
const LONGEST: usize = 2048;
const SCHEME: &str = "spiffe://";
const LONGEST_DOMAIN: usize = 255;
const LONGEST_ISSUER: usize = 255;
/// The most names and addresses beside one ID.
pub const MOST_NAMES: usize = 64;
/// So many bytes are those of one ID together, at most.
pub const LONGEST_NAMES: usize = 4096;

/// Why a text is no name of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Not a path.
    #[error(
        "{0:?} is not the path of a SPIFFE ID; write /segment/segment, of letters, digits, '.', '-' and '_'"
    )]
    Path(String),
    /// Not an ID.
    #[error("{0:?} is not a SPIFFE ID; write spiffe://DOMAIN/PATH")]
    Id(String),
    /// Not a name of a host.
    #[error("{0:?} is not a DNS name; write one of letters, digits and hyphens, without a wildcard")]
    Dns(String),
    /// Not an address, or one in the clothes of another.
    #[error("{0:?} is not an IP address; write one like 10.0.0.1 or 2001:db8::1, and one of IPv4 as such")]
    Address(String),
    /// More of them than an ID may have.
    #[error(
        "an ID has at most {MOST_NAMES} names and addresses beside it, of {LONGEST_NAMES} bytes together"
    )]
    TooManyNames,
    /// Not an issuer of tokens.
    #[error(
        "{0:?} is no issuer of tokens; write https://host or https://host:port/path, without a slash at the end"
    )]
    Issuer(String),
    /// Not a network.
    #[error("{0:?} is not a network; write address/bits, like 10.0.0.0/8")]
    Network(String),
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The path of a SPIFFE ID: who the workload is within its trust domain. Begins with a slash and has at least one
/// segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePath(String);

impl SpiffePath {
    /// As text, with the slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SpiffePath {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
        let fits = text.len() <= LONGEST - SCHEME.len() - LONGEST_DOMAIN;
        match text.strip_prefix('/').filter(|rest| fits && rest.split('/').all(segment)) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(SpiffeError::Path(shortened(text))),
        }
    }
}

impl fmt::Display for SpiffePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `spiffe://DOMAIN/PATH`. The trust domain is a cluster, whose name always is the name of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The trust domain.
    pub domain: ClusterName,
    /// Who it is within it.
    pub path: SpiffePath,
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let wrong = || SpiffeError::Id(shortened(text));
        let rest = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let (domain, path) = rest.split_at(rest.find('/').ok_or_else(wrong)?);
        let domain = ClusterName::new(domain).map_err(|_| wrong())?;
        Ok(Self { domain, path: path.parse()? })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.domain, self.path)
    }
}

/// A trust domain as it stands in bundles: an ID without a path.
pub fn trust_domain_id(domain: &ClusterName) -> String {
    format!("{SCHEME}{domain}")
}

/// A DNS name in lower case: of one host, never a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let label = |label: &str| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits makes it an address, or something that is taken for one (RFC 1123, section 2.1).
        let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
        match text.len() <= 253 && !numeric && text.split('.').all(label) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(SpiffeError::Dns(shortened(text))),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address beside an ID. One of IPv4 that is written as one of IPv6 (RFC 4291, section 2.5.5.2) is refused: rules for it speak
/// of IPv4.
pub fn address(text: &str) -> Result<IpAddr, SpiffeError> {
    let address = text.parse::<IpAddr>().ok().filter(|address| *address == address.to_canonical());
    address.ok_or_else(|| SpiffeError::Address(shortened(text)))
}

/// Whether there may be so many names and addresses beside one ID, before anything is done with them.
pub fn bounded(dns: &[String], addresses: &[String]) -> Result<(), SpiffeError> {
    let bytes: usize = dns.iter().chain(addresses).map(String::len).sum();
    match dns.len() + addresses.len() <= MOST_NAMES && bytes <= LONGEST_NAMES {
        true => Ok(()),
        false => Err(SpiffeError::TooManyNames),
    }
}

/// Who issues JWT-SVIDs, as OpenID Connect names it (Discovery 1.0, section 2): below this address it is found whose keys sign
/// them. Written in one way alone, because it is compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer(String);

impl FromStr for TokenIssuer {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let wrong = || SpiffeError::Issuer(shortened(text));
        let rest =
            text.strip_prefix("https://").filter(|_| text.len() <= LONGEST_ISSUER).ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) =
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_host = host.parse::<DnsName>().is_ok_and(|name| name.as_str() == host);
        let is_host = is_host || host.parse::<std::net::Ipv4Addr>().is_ok();
        // 443 goes without saying.
        let is_port =
            |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port && number != 443);
        match is_host && port.is_none_or(is_port) && (path.is_empty() || path.parse::<SpiffePath>().is_ok()) {
            true => Ok(Self(text.to_owned())),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it. Addresses of one family are never in a network of the other; one of IPv4 that is written as
    /// one of IPv6 is of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u8| {
            let free = u32::from(width - self.bits);
            a.checked_shr(free).unwrap_or(0) == b.checked_shr(free).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let wrong = || SpiffeError::Network(shortened(text));
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let plain = !bits.is_empty() && bits.bytes().all(|c| c.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|bits| plain && *bits <= width).ok_or_else(wrong)?;
        // Those of IPv4 that are written as ones of IPv6 begin with the same 96 bits.
        Ok(match (address.to_canonical(), bits.checked_sub(96)) {
            (IpAddr::V4(mapped), Some(bits)) if address.is_ipv6() => Self { address: mapped.into(), bits },
            _ => Self { address, bits },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        DnsName, LONGEST_NAMES, MOST_NAMES, Network, SpiffeId, SpiffePath, TokenIssuer, address, bounded,
    };
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_standard() {
        for path in ["/a", "/svc/web-1", "/A/b_c/1.2", "/..a/...", "/a/b/c/d"] {
            assert_eq!(path.parse::<SpiffePath>().expect(path).as_str(), path);
        }
        let long = format!("/{}", "a".repeat(2000));
        for path in [
            "", "/", "a", "/a/", "//a", "/a//b", "/.", "/a/../b", "/a b", "/ä", "/a?b", "/a#b", "/a%20",
            "/a:b", &long,
        ] {
            assert!(path.parse::<SpiffePath>().is_err(), "{path:?}");
        }
    }

    #[test]
    fn ids_lead_back_to_their_text() {
        let id: SpiffeId = "spiffe://a.example/svc/web".parse().expect("an ID");
        assert_eq!((id.domain.as_str(), id.path.as_str()), ("a.example", "/svc/web"));
        assert_eq!(id.to_string(), "spiffe://a.example/svc/web");
        for text in [
            "spiffe://a.example",
            "spiffe://a.example/",
            "spiffe:///x",
            "SPIFFE://a/x",
            "http://a/x",
            "spiffe://A.example/x",
            "spiffe://a:80/x",
            "spiffe://u@a/x",
            "",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn dns_names_are_of_hosts() {
        assert_eq!("Web.Example.com".parse::<DnsName>().expect("a name").as_str(), "web.example.com");
        for name in ["", ".", "a.", "*.a", "a..b", "-a", "a-", "a_b", "10.0.0.1", "1", "a b", "ä.example"] {
            assert!(name.parse::<DnsName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn issuers_are_addresses_written_in_one_way() {
        let path = format!("https://a.example/{}", "a".repeat(300));
        for text in [
            "https://a.example",
            "https://a.example:8443/b/c",
            "https://10.0.0.1:1",
            "https://id/workload-identity",
        ] {
            assert_eq!(text.parse::<TokenIssuer>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "https://",
            "http://a.example",
            "https://A.example",
            "https://a.example/",
            "https://a.example:443",
            "https://a.example:0443",
            "https://a.example:",
            "https://u@a.example",
            "https://a.example?x",
            "https://a.example/b#c",
            "https://a.example/../b",
            "https://a.example//b",
            "https://a.example/b c",
            "a.example",
            &path,
        ] {
            assert!(text.parse::<TokenIssuer>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("203.0.113.9/32", "203.0.113.9", true),
            ("203.0.113.9/32", "203.0.113.8", false),
            ("::/0", "203.0.113.9", false),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "ffff::", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::/0", "::ffff:10.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ] {
            let network: Network = network.parse().expect(network);
            assert_eq!(network.contains(address.parse().expect(address)), expected, "{network:?} {address}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "x/8", "10.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_are_written_in_one_way() {
        for text in ["10.0.0.1", "2001:db8::1", "::1"] {
            assert_eq!(address(text).expect(text).to_string(), text);
        }
        for text in ["::ffff:10.0.0.1", "::ffff:a00:1", "", "x", "10.0.0.1/32"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_beside_an_id_are_bounded_together() {
        let many = |count: usize, length: usize| vec!["x".repeat(length); count];
        assert!(bounded(&many(MOST_NAMES - 1, 10), &many(1, 10)).is_ok());
        assert!(bounded(&many(MOST_NAMES, 10), &many(1, 10)).is_err());
        assert!(bounded(&many(2, LONGEST_NAMES / 2), &[]).is_ok());
        assert!(bounded(&many(2, LONGEST_NAMES / 2), &many(1, 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,60}") {
            let _ = (text.parse::<SpiffePath>(), text.parse::<DnsName>(), text.parse::<Network>());
            if let Ok(issuer) = format!("https://{text}").parse::<TokenIssuer>() {
                prop_assert_eq!(issuer.to_string(), format!("https://{text}"));
            }
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
