//! `[login@]host`: checked once, so that what reaches another program or a certificate check is a plain name.

use crate::Failure;
use access::{HostPort, Login};

/// Whom to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account, when it was named.
    pub login: Option<Login>,
    /// A host name, an address or a host id; lower case.
    pub host: String,
}

impl Target {
    /// Reads `[login@]host`. Logins may hold `@`: what follows the last one is the host.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let (login, host) = match text.rsplit_once('@') {
            Some((login, host)) => (Some(self::login(login)?), host),
            None => (None, text),
        };
        Ok(Self { login, host: self::host(host)? })
    }

    /// Reads `[login@]host[:port]`; the port is 0 when there is none.
    pub fn parse_with_port(text: &str) -> Result<(Self, u16), Failure> {
        let (login, address) = match text.rsplit_once('@') {
            Some((login, address)) => (Some(self::login(login)?), address),
            None => (None, text),
        };
        let address = HostPort::parse(address, 0).map_err(|error| Failure::new(error.to_string()))?;
        Ok((Self { login, host: self::host(address.host())? }, address.port()))
    }

    /// The host's name within its cluster: `my-host` for `my-host.<cluster>`.
    pub fn host_in(&self, cluster: &str) -> &str {
        self.host
            .strip_suffix(cluster)
            .and_then(|name| name.strip_suffix('.'))
            .filter(|name| !name.is_empty())
            .unwrap_or(&self.host)
    }
}

/// A login that is plain.
pub fn login(text: &str) -> Result<Login, Failure> {
    Login::new(text)
        .map_err(|error| Failure::new(error.to_string()).hint("write login@host, or give -l LOGIN"))
}

fn host(text: &str) -> Result<String, Failure> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match HostPort::new(bare, 0) {
        Ok(address) => Ok(address.host().to_ascii_lowercase()),
        Err(_) => Err(Failure::new(format!("{text:?} is not a host name"))
            .hint("give a host name, an address or a host id; tsh ls lists the hosts")),
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn reads_logins_and_hosts() {
        for (text, login, host) in [
            ("my-host", None, "my-host"),
            ("root@My-Host.example.com", Some("root"), "my-host.example.com"),
            ("alice@example.com@h", Some("alice@example.com"), "h"),
            ("root@::1", Some("root"), "::1"),
            ("root@[::1]", Some("root"), "::1"),
        ] {
            let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (target.login.as_ref().map(|login| login.as_str()), target.host.as_str()),
                (login, host)
            );
        }
        let (target, port) = Target::parse_with_port("root@my-host:3022").expect("parses");
        assert_eq!((target.host.as_str(), port), ("my-host", 3022));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "@",
            "root@",
            "@host",
            "-oProxyCommand=x",
            "root@-oProxyCommand=x",
            "-l@host",
            "a b@host",
            "root@h\n",
            "root@h\x1b[2J",
            "ro\tot@h",
            "root@h;id",
            "root@$(id)",
            "root@h/x",
            "root@\u{202e}h",
        ] {
            assert!(Target::parse(text).is_err(), "{text:?}");
            assert!(Target::parse_with_port(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_clusters_name_is_no_part_of_the_hosts() {
        for (host, name) in [
            ("my-host.c.example", "my-host"),
            ("my-host", "my-host"),
            ("c.example", "c.example"),
            ("my-hostc.example", "my-hostc.example"),
        ] {
            assert_eq!(Target::parse(host).expect("a host").host_in("c.example"), name);
        }
    }
}
