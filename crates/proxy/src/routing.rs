//! Which node a name means (reference sheet on server access, section 4.3), restricted to what the caller may see.
//!
//! Pure: no I/O, no clock, no name resolution. A node is only ever found among the registered ones, by its id, its
//! host name or an address of its own that it reported; a raw address is never a target by itself. What is unknown
//! and what is hidden give the same answer.

mod directory;

pub use directory::{Directory, Entry};

use access::resource::cluster::RoutingStrategy;
use access::{ClusterName, HostId};
use std::sync::Arc;

/// The ports that say "wherever it listens": none, and the two that clients use when nobody named one.
const ANY_PORT: [u32; 3] = [0, 22, 3022];
/// No registered name is longer (`NodeName`), a cluster's suffix included.
const LONGEST: usize = 512;

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Host id, host name or a reported address; the cluster's name may follow after a dot.
    pub host: &'a str,
    /// 0, 22 and 3022 stand for any port, unless a node fits exactly.
    pub port: u32,
    /// Empty: this one.
    pub cluster: &'a str,
}

/// How names are read in this cluster.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// This cluster.
    pub cluster: &'a ClusterName,
    /// What to do when several nodes fit.
    pub strategy: RoutingStrategy,
    /// Whether `foo` finds `Foo`.
    pub case_insensitive: bool,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No node of that name that the caller could see.
    #[error("no node of that name that you may reach")]
    Unknown,
    /// Several that the caller can see.
    #[error("several nodes have that name")]
    Ambiguous,
}

impl Directory {
    /// The one node that `target` means among those that `visible` says yes to.
    pub fn resolve(
        &self,
        target: &Target<'_>,
        rules: &Rules<'_>,
        visible: impl Fn(&Entry) -> bool,
    ) -> Result<Arc<Entry>, NoRoute> {
        let here = target.cluster.is_empty() || target.cluster == rules.cluster.as_str();
        if !here || target.host.is_empty() || target.host.len() > LONGEST {
            return Err(NoRoute::Unknown);
        }
        let suffixed = target.host.strip_suffix(rules.cluster.as_str());
        let bare = suffixed.and_then(|rest| rest.strip_suffix('.')).filter(|bare| !bare.is_empty());
        // The literal name first: a cluster may be named like the domain of its nodes.
        for host in std::iter::once(target.host).chain(bare) {
            let found = self.candidates(host, target.port, rules, &visible);
            if !found.is_empty() {
                return choose(found, rules.strategy);
            }
        }
        Err(NoRoute::Unknown)
    }

    fn candidates(
        &self,
        host: &str,
        port: u32,
        rules: &Rules<'_>,
        visible: impl Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        if let Some(entry) = host.parse::<HostId>().ok().and_then(|id| self.by_id(id)) {
            return if visible(entry) { vec![Arc::clone(entry)] } else { Vec::new() };
        }
        let named = self.by_name(host).filter(|entry| entry.is_called(host, rules.case_insensitive));
        let seen: Vec<_> = named.filter(|entry| visible(entry)).collect();
        let exact: Vec<_> =
            seen.iter().filter(|entry| entry.listens_on(port)).map(|e| Arc::clone(e)).collect();
        match exact.is_empty() && ANY_PORT.contains(&port) {
            true => seen.into_iter().map(Arc::clone).collect(),
            false => exact,
        }
    }
}

fn choose(mut found: Vec<Arc<Entry>>, strategy: RoutingStrategy) -> Result<Arc<Entry>, NoRoute> {
    if found.len() > 1 {
        match strategy {
            RoutingStrategy::UnambiguousMatch => return Err(NoRoute::Ambiguous),
            RoutingStrategy::MostRecent => {
                found.sort_by_key(|entry| (entry.node().spec.last_seen, entry.node().id));
            }
        }
    }
    found.pop().ok_or(NoRoute::Unknown)
}

#[cfg(test)]
mod tests;
