//! `host:port`, as people write it, and whose an address can be.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host (DNS name, IPv4 or IPv6 address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// Why a text is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address; write host:port, an IPv6 address in brackets")]
pub struct AddressError {
    text: String,
}

impl HostPort {
    /// From parts that were checked elsewhere; see [`HostPort::parse`] for text.
    pub fn new(host: &str, port: u16) -> Result<Self, AddressError> {
        let host = host.strip_suffix('.').unwrap_or(host);
        match is_host(host) {
            true => Ok(Self { host: host.to_owned(), port }),
            false => Err(AddressError { text: host.chars().take(80).collect() }),
        }
    }

    /// Reads `host:port`, `host` (with the default port), `[v6]:port` or a bare IPv6 address.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let wrong = || AddressError { text: text.chars().take(80).collect() };
        if text.parse::<Ipv6Addr>().is_ok() {
            return Self::new(text, default_port);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                match tail {
                    "" => (host, None),
                    tail => (host, Some(tail.strip_prefix(':').ok_or_else(wrong)?)),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None => default_port,
        };
        Self::new(host, port).map_err(|_| wrong())
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn is_host(host: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let dns = host.len() <= 253
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && host.chars().all(name);
    dns || host.parse::<Ipv6Addr>().is_ok()
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// From where an address leads to the same machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From elsewhere, too.
    Far,
    /// Loopback: to whichever machine uses it.
    Own,
    /// To no one machine: unspecified, multicast, broadcast, link-local, reserved, or an IPv4 address written in a way that
    /// nobody uses any more.
    Nowhere,
}

impl Reach {
    /// That of an address, however it is written.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let nowhere = match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast() || matches!(v4.octets()[0], 0 | 240..),
            IpAddr::V6(v6) => {
                let old_form = v6.segments()[..6] == [0; 6] && !v6.is_loopback();
                v6.is_unicast_link_local() || v6.is_multicast() || old_form
            }
        };
        match nowhere {
            true => Self::Nowhere,
            false if address.to_canonical().is_loopback() => Self::Own,
            false => Self::Far,
        }
    }
}

/// Whether a name could be read as an address where names are resolved (`0`, `127.1`, `0x7f000001`): its last label is a
/// number. No name of the DNS has such an end.
#[must_use]
pub fn is_number(name: &str) -> bool {
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|digit| digit.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPort, Reach, is_number};

    #[test]
    fn addresses_of_no_one_machine_are_known_in_every_form() {
        for (address, reach) in [
            ("10.0.0.1", Reach::Far),
            ("2001:db8::1", Reach::Far),
            ("fd00::1", Reach::Far),
            ("::ffff:10.0.0.1", Reach::Far),
            ("127.0.0.1", Reach::Own),
            ("127.9.9.9", Reach::Own),
            ("::1", Reach::Own),
            ("::ffff:127.0.0.1", Reach::Own),
            ("0.0.0.0", Reach::Nowhere),
            ("0.0.0.1", Reach::Nowhere),
            ("::", Reach::Nowhere),
            ("::ffff:0.0.0.0", Reach::Nowhere),
            ("::127.0.0.1", Reach::Nowhere),
            ("169.254.169.254", Reach::Nowhere),
            ("::ffff:169.254.169.254", Reach::Nowhere),
            ("fe80::1", Reach::Nowhere),
            ("224.0.0.1", Reach::Nowhere),
            ("ff02::1", Reach::Nowhere),
            ("255.255.255.255", Reach::Nowhere),
        ] {
            assert_eq!(Reach::of(address.parse().expect("an address")), reach, "{address}");
        }
    }

    #[test]
    fn names_that_resolvers_take_for_addresses_are_numbers() {
        for name in
            ["0", "127.1", "10.77.1", "0x7f000001", "0X7F.1", "127.0.0.0x1", "0x", "2130706433", "a.1", "1."]
        {
            assert!(is_number(name), "{name}");
        }
        for name in ["web-1", "1.web", "0xcafe.example.com", "xyz", "1a", "0xg", "0x.de"] {
            assert!(!is_number(name), "{name}");
        }
    }

    #[test]
    fn reads_what_people_write() {
        for (text, printed) in [
            ("proxy.example.com", "proxy.example.com:3080"),
            ("proxy.example.com:443", "proxy.example.com:443"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("::1", "[::1]:3080"),
            ("[::1]:22", "[::1]:22"),
            ("[::1]", "[::1]:3080"),
        ] {
            assert_eq!(
                HostPort::parse(text, 3080).map(|address| address.to_string()),
                Ok(printed.to_owned())
            );
        }
    }

    #[test]
    fn refuses_what_would_need_escaping() {
        for text in [
            "",
            ":22",
            "a b:22",
            "host:",
            "host:99999",
            "-oProxyCommand=x",
            "[::1",
            "a\nb",
            "$(x)",
            "https://x",
            "a%b",
        ] {
            assert!(HostPort::parse(text, 3080).is_err(), "{text}");
        }
    }
}
