//! `host:port`, as people write it.

use std::fmt;
use std::net::Ipv6Addr;

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

#[cfg(test)]
mod tests {
    use super::HostPort;

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
