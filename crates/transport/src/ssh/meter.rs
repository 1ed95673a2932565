//! What went through a connection, what waits in it, and why it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::ssh::Error;

/// What a connection may always keep, however full the process is.
const FAIR_SHARE: usize = 4 << 20;

/// What all connections of a process may keep together. One connection is bounded by its windows; this bounds many.
#[derive(Debug)]
pub struct MemoryBudget {
    unread: AtomicUsize,
    limit: usize,
}

impl MemoryBudget {
    /// So many bytes for all connections that share it; past that, each may keep 4 MiB.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { unread: AtomicUsize::new(0), limit })
    }
}

/// One connection's part of a budget.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<MemoryBudget>,
    unread: usize,
}

impl Share {
    pub(super) fn of(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, unread: 0 }
    }

    /// So much waits to be taken now.
    pub(super) fn set(&mut self, unread: usize) {
        match unread.checked_sub(self.unread) {
            Some(more) => self.budget.unread.fetch_add(more, Ordering::Relaxed),
            None => self.budget.unread.fetch_sub(self.unread - unread, Ordering::Relaxed),
        };
        self.unread = unread;
    }

    /// Whether nothing more should be read from the network until some of it is taken.
    pub(super) fn is_used_up(&self) -> bool {
        self.unread >= FAIR_SHARE && self.budget.unread.load(Ordering::Relaxed) >= self.budget.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes of one connection on the wire, encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the peer.
    pub received: u64,
    /// To the peer.
    pub sent: u64,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The peer ended it; with its words, when it had any.
    #[error("the other side closed the connection{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    Peer(String),
    /// This side ended it, for this reason.
    #[error("{0}")]
    Local(String),
    /// Keep-alives were not answered.
    #[error("the other side does not answer")]
    Silent,
    /// The network failed or the protocol was violated.
    #[error("{0}")]
    Broken(String),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Disconnected { text, .. } => Self::Peer(text),
            Error::Ended(text) => Self::Local(text),
            Error::Silent => Self::Silent,
            Error::Violation(violation) => Self::Broken(violation.to_string()),
        }
    }
}

/// Counts what goes through a connection.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    active_ms: AtomicU64,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
        }
    }

    /// How long the connection has been there: the engine's clock.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment at which the engine's clock shows `now`.
    pub(super) fn moment(&self, now: Duration) -> Instant {
        self.started.checked_add(now).unwrap_or_else(|| self.started + Duration::from_secs(86_400 * 365))
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Something that a user would call activity: channel data or a request, not a keep-alive.
    pub(super) fn touch(&self) {
        self.active_ms.store(millis(self.now()), Ordering::Relaxed);
    }

    /// How long ago the last activity was.
    pub(super) fn idle(&self) -> Duration {
        let active = self.active_ms.load(Ordering::Relaxed);
        Duration::from_millis(millis(self.now()).saturating_sub(active))
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic { received: self.received.load(Ordering::Relaxed), sent: self.sent.load(Ordering::Relaxed) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{FAIR_SHARE, MemoryBudget, Share};

    #[test]
    fn a_connection_may_keep_its_share_however_full_the_process_is() {
        let budget = MemoryBudget::new(3 * FAIR_SHARE);
        let (mut one, mut two) = (Share::of(budget.clone()), Share::of(budget.clone()));
        one.set(2 * FAIR_SHARE);
        assert!(!one.is_used_up(), "there is room for all");
        two.set(FAIR_SHARE);
        assert!(one.is_used_up() && two.is_used_up());
        two.set(FAIR_SHARE - 1);
        assert!(!two.is_used_up());
        drop(one);
        two.set(3 * FAIR_SHARE);
        assert!(two.is_used_up(), "what is gone is not counted, what is there is");
        drop(two);
        assert_eq!(budget.unread.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
