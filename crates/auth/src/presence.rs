//! Which hosts are connected. A host is present while its stream to auth stands, and nothing of it is stored.

use access::{HostId, SystemRole};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The connected hosts.
#[derive(Debug, Default)]
pub struct Presence {
    hosts: Mutex<BTreeMap<(SystemRole, HostId), Connected>>,
}

/// One connected host.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Where its stream comes from.
    pub from: Option<IpAddr>,
    /// Where others reach it: of proxies, their public addresses.
    pub public_addrs: Vec<String>,
    /// The version it runs.
    pub version: String,
    /// The policy that it said it applied.
    pub applied: i64,
    /// Ends the stream.
    pub cut: CancellationToken,
}

impl Presence {
    /// Takes a stream in. An older stream of the same host is ended: the host has forgotten it.
    pub fn connect(&self, role: SystemRole, id: HostId, connected: Connected) -> bool {
        let older = self.hosts().insert((role, id), connected);
        match older {
            Some(older) => {
                older.cut.cancel();
                false
            }
            None => true,
        }
    }

    /// Forgets a stream, unless a newer one has taken its place. Says whether the host is gone now.
    pub fn disconnect(&self, role: SystemRole, id: HostId, cut: &CancellationToken) -> bool {
        cut.cancel();
        let mut hosts = self.hosts();
        let own = hosts.get(&(role, id)).is_some_and(|connected| connected.cut.is_cancelled());
        if own {
            hosts.remove(&(role, id));
        }
        own
    }

    /// Changes what is known of a connected host.
    pub fn update(&self, role: SystemRole, id: HostId, change: impl FnOnce(&mut Connected)) {
        if let Some(connected) = self.hosts().get_mut(&(role, id)) {
            change(connected);
        }
    }

    /// Whether a host is connected, in any role.
    pub fn is_online(&self, id: HostId) -> bool {
        SystemRole::ALL.into_iter().any(|role| self.is_online_as(role, id))
    }

    /// Whether a host is connected in a role.
    pub fn is_online_as(&self, role: SystemRole, id: HostId) -> bool {
        self.hosts().contains_key(&(role, id))
    }

    /// How many hosts of a role are connected.
    pub fn count(&self, role: SystemRole) -> usize {
        self.hosts().keys().filter(|(connected, _)| *connected == role).count()
    }

    /// Whether a connected proxy calls from this address: then it may be anybody behind that proxy.
    pub fn is_proxy(&self, from: IpAddr) -> bool {
        let hosts = self.hosts();
        hosts.iter().any(|((role, _), connected)| *role == SystemRole::Proxy && connected.from == Some(from))
    }

    /// The public addresses of the connected proxies, each once.
    pub fn proxy_addrs(&self) -> Vec<String> {
        let hosts = self.hosts();
        let proxies = hosts.iter().filter(|((role, _), _)| *role == SystemRole::Proxy);
        let mut addrs: Vec<String> = proxies.flat_map(|(_, proxy)| proxy.public_addrs.clone()).collect();
        let mut seen = std::collections::BTreeSet::new();
        addrs.retain(|addr| seen.insert(addr.clone()));
        addrs
    }

    /// Ends the streams of a host, in every role.
    pub fn cut(&self, id: HostId) {
        for ((_, host), connected) in self.hosts().iter() {
            if *host == id {
                connected.cut.cancel();
            }
        }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<(SystemRole, HostId), Connected>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Connected, Presence};
    use access::{HostId, SystemRole};
    use tokio_util::sync::CancellationToken;

    fn connected(addr: &str) -> Connected {
        Connected {
            from: "10.0.0.1".parse().ok(),
            public_addrs: vec![addr.to_owned()],
            version: String::new(),
            applied: 0,
            cut: CancellationToken::new(),
        }
    }

    #[test]
    fn a_newer_stream_takes_the_place_of_an_older_one() {
        let presence = Presence::default();
        let id = HostId(uuid::Uuid::new_v4());
        let (old, new) = (connected("a:1"), connected("a:1"));
        assert!(presence.connect(SystemRole::Proxy, id, old.clone()));
        assert!(!presence.connect(SystemRole::Proxy, id, new.clone()));
        assert!(old.cut.is_cancelled() && !new.cut.is_cancelled());
        assert!(!presence.disconnect(SystemRole::Proxy, id, &old.cut), "the newer one stays");
        assert!(presence.is_online(id) && presence.is_proxy("10.0.0.1".parse().expect("an address")));
        assert_eq!(presence.proxy_addrs(), ["a:1"]);
        assert!(presence.disconnect(SystemRole::Proxy, id, &new.cut));
        assert!(!presence.is_online(id) && presence.proxy_addrs().is_empty());
    }

    #[test]
    fn roles_of_one_host_are_counted_apart_and_cut_together() {
        let presence = Presence::default();
        let id = HostId(uuid::Uuid::new_v4());
        let (node, proxy) = (connected("n:1"), connected("p:1"));
        presence.connect(SystemRole::Node, id, node.clone());
        presence.connect(SystemRole::Proxy, id, proxy.clone());
        assert_eq!((presence.count(SystemRole::Node), presence.count(SystemRole::Proxy)), (1, 1));
        assert_eq!(presence.proxy_addrs(), ["p:1"]);
        presence.cut(id);
        assert!(node.cut.is_cancelled() && proxy.cut.is_cancelled());
    }
}
