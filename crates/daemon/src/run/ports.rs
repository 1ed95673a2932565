//! Takes every port, before a service makes anything that stays and while the process may take all of them.
//!
//! A cluster is made once and keeps its name: it must not be made by a start that then fails over a port. And a port below
//! 1024 is root's, which the daemon does not stay. Nothing listens yet: each service does when it can serve.

use std::{fmt, io, net::SocketAddr};

use transport::listen::{BindError, Listen};

use crate::config::Config;

/// The ports of this process.
#[derive(Debug)]
pub struct Ports {
    /// For health and metrics.
    pub diag: Option<Listen>,
    /// Auth's.
    pub auth: Option<Listen>,
    /// The proxy's.
    pub proxy: Option<Listen>,
    /// The node's.
    pub node: Option<Listen>,
}

/// The ports that cannot be had, each with its key.
#[derive(Debug)]
pub struct Occupied(Vec<(&'static str, BindError)>);

/// Takes all that `config` listens on.
///
/// # Errors
/// All that cannot be had.
pub fn take(config: &Config) -> Result<Ports, Occupied> {
    let services = &config.services;
    let (mut taken, mut occupied) = (Vec::new(), Vec::new());
    let mut take = |key, addr: Option<SocketAddr>| {
        let addr = addr?;
        match free_of(&taken, addr).and_then(|()| Listen::take(addr)) {
            Ok(listen) => {
                taken.push(addr);
                Some(listen)
            }
            Err(error) => {
                occupied.push((key, error));
                None
            }
        }
    };
    let ports = Ports {
        diag: take("postern.diag_addr", config.diag_addr),
        auth: take("auth_service.listen_addr", services.auth.as_ref().map(|auth| auth.listen)),
        proxy: take("proxy_service.web_listen_addr", services.proxy.as_ref().map(|proxy| proxy.listen)),
        node: take("ssh_service.listen_addr", services.node.as_ref().map(|node| node.listen)),
    };
    if occupied.is_empty() { Ok(ports) } else { Err(Occupied(occupied)) }
}

/// Two of ours exclude each other as well, which the system says only when both listen.
fn free_of(taken: &[SocketAddr], addr: SocketAddr) -> Result<(), BindError> {
    let same = |other: &&SocketAddr| {
        let everywhere = addr.ip().is_unspecified() || other.ip().is_unspecified();
        addr.port() != 0 && addr.port() == other.port() && (everywhere || addr.ip() == other.ip())
    };
    match taken.iter().find(same) {
        None => Ok(()),
        Some(other) => {
            let reason = io::Error::other(format!("this process listens on {other} as well"));
            Err(BindError { addr, reason })
        }
    }
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (key, error)) in self.0.iter().enumerate() {
            let separator = if nth > 0 { "\n" } else { "" };
            write!(f, "{separator}{key}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Occupied {}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::free_of;

    #[test]
    fn two_of_ours_exclude_each_other() {
        let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (taken, wanted, free) in [
            ("0.0.0.0:3080", "127.0.0.1:3080", false),
            ("127.0.0.1:3080", "[::]:3080", false),
            ("127.0.0.1:3080", "127.0.0.1:3080", false),
            ("127.0.0.1:3080", "127.0.0.2:3080", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
        ] {
            assert_eq!(free_of(&[addr(taken)], addr(wanted)).is_ok(), free, "{taken} {wanted}");
        }
    }
}
