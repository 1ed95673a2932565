//! What is to be done to the processes of sessions. Kills are done at once. Signals, of which a client can send as many as it
//! likes to as many processes as it has, wait for each other: the same one twice is one, and most of the time is left for others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use exec::Session;
use exec::session::{Act, Order, sweep};

/// The least time between two times that signals are sent.
const PAUSE: Duration = Duration::from_millis(50);
/// How many times as long as it took.
const REST: u32 = 4;

pub(super) struct Orders {
    kills: Vec<Order>,
    /// By the first process.
    signals: HashMap<u32, Vec<Order>>,
    /// When signals are sent again.
    next: Instant,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self { kills: Vec::new(), signals: HashMap::new(), next: Instant::now() }
    }

    /// A signal, once.
    pub(super) fn signal(&mut self, session: &Session, act: Act) {
        let waiting = self.signals.entry(session.pid()).or_default();
        if let Some(order) = session.order(act).filter(|order| !waiting.contains(order)) {
            waiting.push(order);
        }
    }

    /// Everything of it; what is in a control group, or its first process, at once.
    pub(super) fn kill(&mut self, session: &Session) {
        session.kill_first();
        // There is nothing else where the group is known.
        let order = session.order(Act::Kill).filter(|_| session.group().is_none());
        self.kills.extend(order.filter(|order| !self.kills.contains(order)));
    }

    /// Its number may be another's soon.
    pub(super) fn forget(&mut self, session: &Session) {
        self.signals.remove(&session.pid());
        self.kill_all();
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match (self.kills.is_empty(), self.signals.is_empty()) {
            (false, _) => Some(Instant::now()),
            (true, false) => Some(self.next),
            (true, true) => None,
        }
    }

    /// Does what is due.
    pub(super) fn carry_out(&mut self) {
        self.kill_all();
        let began = Instant::now();
        if self.signals.is_empty() || began < self.next {
            return;
        }
        let all: Vec<Order> = self.signals.drain().flat_map(|(_, orders)| orders).collect();
        sweep(&all);
        self.next = Instant::now() + PAUSE.max(began.elapsed() * REST);
    }

    fn kill_all(&mut self) {
        if !self.kills.is_empty() {
            sweep(&std::mem::take(&mut self.kills));
        }
    }
}
