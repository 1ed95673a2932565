//! What one connection has taken in and not yet handed on, when it was last heard of, and the switch that cuts it.
//!
//! The engine grants window when data arrives, not when it is taken, and has no way to grant it later. Three brakes make
//! up for that, each for when the one before is not enough:
//!
//! 1. A server whose channel has [`HIGH`] bytes waiting grants only [`DRIBBLE`] bytes at a time. The peer comes to rest,
//!    but for dribbles, whose arrival is the occasion to grant more once there is room.
//! 2. While only dribbles come, the socket is read at a walking pace ([`super::gate`]): they have no other purpose.
//! 3. With [`PER_CONNECTION`] bytes waiting the socket is not read at all.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// A channel with so many bytes waiting gets no more window than it takes to stay in touch.
pub(super) const HIGH: usize = 1 << 20;
/// What it gets. The engine grants when less than half of the target is left, so this must not be less than two.
pub(super) const DRIBBLE: u32 = 128;
/// The most that waits for one connection's readers.
const PER_CONNECTION: usize = 64 << 20;
/// What a connection may always keep, however full the process is: what a channel has in flight when it comes to rest.
const FAIR_SHARE: usize = 4 << 20;

/// What all connections of a process may keep together.
#[derive(Debug)]
pub struct MemoryBudget {
    queued: AtomicUsize,
    limit: usize,
}

impl MemoryBudget {
    /// So many bytes for all connections that share it; past that, each may keep 4 MiB.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { queued: AtomicUsize::new(0), limit })
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

#[derive(Debug)]
pub(super) struct Flow {
    budget: Arc<MemoryBudget>,
    queued: AtomicUsize,
    /// Set when the gate holds back; woken when there is room again.
    pub(super) room: AtomicWaker,
    holding: AtomicBool,
    pacing: AtomicBool,
    started: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    heard_ms: AtomicU64,
    active_ms: AtomicU64,
    /// Makes every read and write of the socket fail from now on.
    pub(super) cut: CancellationToken,
    /// Fires when the peer has been told that this is the end.
    announced: CancellationToken,
    /// Fires when nothing of the connection is left.
    pub(super) ended: CancellationToken,
    reason: OnceLock<Ended>,
}

impl Flow {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            queued: AtomicUsize::new(0),
            room: AtomicWaker::new(),
            holding: AtomicBool::new(false),
            pacing: AtomicBool::new(false),
            started: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
            active_ms: AtomicU64::new(0),
            cut: CancellationToken::new(),
            announced: CancellationToken::new(),
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
        })
    }

    /// So many bytes of memory are now taken by a queue.
    pub(super) fn queue(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::AcqRel);
        self.budget.queued.fetch_add(bytes, Ordering::AcqRel);
    }

    /// They are no longer.
    pub(super) fn take(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.queued.fetch_sub(bytes, Ordering::AcqRel);
        if bytes > 0 {
            self.room.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    /// A dribble came for a channel that has enough.
    pub(super) fn pace(&self) {
        self.pacing.store(true, Ordering::Release);
    }

    /// Whether the socket should be read at a walking pace for now.
    pub(super) fn is_paced(&self) -> bool {
        let paced = self.pacing.load(Ordering::Acquire);
        if paced && self.queued.load(Ordering::Acquire) < HIGH {
            self.pacing.store(false, Ordering::Release);
            return false;
        }
        paced
    }

    /// Whether nothing more should be read from the socket for now.
    pub(super) fn is_full(&self) -> bool {
        let queued = self.queued.load(Ordering::Acquire);
        let crowded = self.budget.queued.load(Ordering::Acquire) >= self.budget.limit;
        queued >= if crowded { FAIR_SHARE } else { PER_CONNECTION }
    }

    pub(super) fn hold(&self, holding: bool) {
        self.holding.store(holding, Ordering::Release);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Something that a user would call activity: channel data or a request, not a keep-alive.
    pub(super) fn touch(&self) {
        self.active_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic { received: self.received.load(Ordering::Relaxed), sent: self.sent.load(Ordering::Relaxed) }
    }

    /// How long ago the last activity was.
    pub(super) fn idle(&self) -> Duration {
        self.since(&self.active_ms)
    }

    /// Ends the connection at once; the first reason counts.
    pub(super) fn cut(&self, reason: Ended) {
        let _ = self.reason.set(reason);
        self.cut.cancel();
    }

    /// The peer is being told that this is the end, and why.
    pub(super) fn announce(&self, reason: Ended) {
        let _ = self.reason.set(reason);
        self.announced.cancel();
    }

    pub(super) async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Nothing is left of the connection.
    pub(super) fn finish(&self, reason: Ended) {
        let _ = self.reason.set(reason);
        self.cut.cancel();
        self.ended.cancel();
    }

    pub(super) fn reason(&self) -> Option<Ended> {
        self.reason.get().cloned()
    }

    /// Returns when the peer has not been heard for as long as `keepalive` allows. While the gate holds back, silence is
    /// our own doing and does not count.
    pub(super) async fn silence(&self, keepalive: super::Keepalive) {
        if keepalive.interval.is_zero() {
            return std::future::pending().await;
        }
        let limit = keepalive.interval.saturating_mul(keepalive.count.saturating_add(1));
        loop {
            let silent = self.since(&self.heard_ms);
            if self.holding.load(Ordering::Acquire) {
                tokio::time::sleep(keepalive.interval).await;
                self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
            } else if silent >= limit {
                return;
            } else {
                tokio::time::sleep(limit - silent).await;
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(moment.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::{FAIR_SHARE, Flow, MemoryBudget, PER_CONNECTION};

    #[test]
    fn a_connection_is_bounded_alone_and_together() {
        let budget = MemoryBudget::new(2 * PER_CONNECTION);
        let (one, two) = (Flow::new(budget.clone()), Flow::new(budget));
        one.queue(PER_CONNECTION);
        assert!(one.is_full() && !two.is_full());
        two.queue(FAIR_SHARE);
        assert!(!two.is_full());
        one.queue(PER_CONNECTION);
        assert!(two.is_full(), "the process is full, so a fair share is the limit");
        one.take(2 * PER_CONNECTION);
        assert!(!one.is_full() && !two.is_full());
    }
}
