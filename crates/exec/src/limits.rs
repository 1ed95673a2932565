//! Resource limits of a session.
//!
//! A node raises its own limits (open files) and lowers others (core dumps). A session must not inherit that: the node
//! takes a [`Limits::capture`] before it changes anything, and every session starts with those.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Every limit that a session gets; the position in this list is the number used between node and helper.
const RESOURCES: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// Soft and hard limits by resource; empty means that the session keeps the node's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Index into [`RESOURCES`], soft, hard; `u64::MAX` is "unlimited", as the kernel has it.
    entries: Vec<(u8, u64, u64)>,
}

impl Limits {
    /// The most entries a request may carry.
    pub(crate) const MAX_ENTRIES: usize = RESOURCES.len();

    /// The limits of the calling process now.
    pub fn capture() -> Self {
        let entries = RESOURCES.iter().zip(0u8..).map(|(resource, index)| {
            let limit = getrlimit(*resource);
            (index, limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
        });
        Self { entries: entries.collect() }
    }

    /// Applies them to the calling process. Limits that cannot be had are left as they are: without root a hard limit
    /// can only go down, and a session with a lower limit is better than none.
    pub(crate) fn apply(&self) {
        for &(index, soft, hard) in &self.entries {
            let Some(resource) = RESOURCES.get(usize::from(index)) else { continue };
            let _ = setrlimit(*resource, Rlimit { current: finite(soft), maximum: finite(hard) });
        }
    }

    /// Number of a resource, soft and hard limit.
    pub fn entries(&self) -> &[(u8, u64, u64)] {
        &self.entries
    }

    /// Checked entries from the wire: known resources, each once, soft not above hard.
    pub fn from_entries(entries: Vec<(u8, u64, u64)>) -> Option<Self> {
        let mut seen = [false; RESOURCES.len()];
        for &(index, soft, hard) in &entries {
            let slot = seen.get_mut(usize::from(index))?;
            if *slot || soft > hard {
                return None;
            }
            *slot = true;
        }
        Some(Self { entries })
    }
}

fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_limits_are_valid_entries() {
        let limits = Limits::capture();
        assert_eq!(limits.entries().len(), RESOURCES.len());
        assert_eq!(Limits::from_entries(limits.entries().to_vec()), Some(limits));
    }

    #[test]
    fn unknown_twofold_or_inverted_entries_are_refused() {
        for entries in [vec![(16, 1, 1)], vec![(0, 1, 1), (0, 1, 1)], vec![(0, 2, 1)]] {
            assert_eq!(Limits::from_entries(entries), None);
        }
    }
}
