//! Addresses as configuration files write them: to listen on, and to be reached at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use access::{HostPort, address::AddressError};

/// Why a text is not an address that can be listened on or gone to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAddress {
    #[error(transparent)]
    Malformed(#[from] AddressError),
    #[error("{0:?} is not an IP address; to listen, write one of this host's, or 0.0.0.0 for all")]
    NotAnIp(String),
    #[error("{0:?} means every address of a host; write one that others can reach")]
    Unspecified(String),
}

/// Reads an address at which others reach a service; `https://` or `tcp://` before it is what existing files have.
pub(super) fn parse_public(text: &str, port: u16) -> Result<HostPort, BadAddress> {
    let address = HostPort::parse(without_scheme(text), port)?;
    match address.host().parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(BadAddress::Unspecified(address.host().to_owned())),
        _ => Ok(address),
    }
}

/// Reads an address to listen on: `ip`, `ip:port`, `:port`; `localhost` is `127.0.0.1`, `*` is `0.0.0.0`.
pub(super) fn parse_listen(text: &str, port: u16) -> Result<SocketAddr, BadAddress> {
    let text = without_scheme(text);
    let all = text.strip_prefix('*').filter(|rest| rest.is_empty() || rest.starts_with(':'));
    let all = all.or_else(|| Some(text).filter(|text| text.starts_with(':') && !text.starts_with("::")));
    let address = match all {
        Some(rest) => HostPort::parse(&format!("{}{rest}", Ipv4Addr::UNSPECIFIED), port)?,
        None => HostPort::parse(text, port)?,
    };
    let ip = match address.host() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        number => number.parse().map_err(|_| BadAddress::NotAnIp(number.to_owned()))?,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

fn without_scheme(text: &str) -> &str {
    ["https://", "tcp://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{parse_listen, parse_public};

    #[test]
    fn public_addresses() {
        for (text, reads) in [
            ("proxy.example.com", "proxy.example.com:3080"),
            ("https://proxy.example.com:443", "proxy.example.com:443"),
            ("10.0.0.1", "10.0.0.1:3080"),
            ("[2001:db8::1]:22", "[2001:db8::1]:22"),
        ] {
            assert_eq!(parse_public(text, 3080).map(|a| a.to_string()), Ok(reads.to_owned()), "{text}");
        }
        for text in ["", ":443", "a b", "a:x", "0.0.0.0:1", "[::]:1", "http://a", "a;b"] {
            assert!(parse_public(text, 3080).is_err(), "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, reads) in [
            ("0.0.0.0:3025", "0.0.0.0:3025"),
            ("127.0.0.1", "127.0.0.1:7"),
            ("localhost:0", "127.0.0.1:0"),
            (":3080", "0.0.0.0:3080"),
            ("*:3080", "0.0.0.0:3080"),
            ("*", "0.0.0.0:7"),
            ("[::]:22", "[::]:22"),
            ("::1", "[::1]:7"),
            ("tcp://10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(parse_listen(text, 7).map(|a| a.to_string()), Ok(reads.to_owned()), "{text}");
        }
        for text in ["", "host:1", "1.2.3.4:99999", "/run/socket", "*host", ":", "1.2.3:4"] {
            assert!(parse_listen(text, 7).is_err(), "{text}");
        }
    }
}
