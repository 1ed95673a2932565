//! Where what arrives for a channel goes: channel number to queues.
//!
//! An entry comes into being when a channel does and never by what is sent to one: the engine goes on delivering to a
//! channel that its owner has closed, until it has told the peer. A channel that this side opens is confirmed, and may
//! be delivered to, before its opener knows its number; its entry waits for the opener.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::{Inbound, Inlet, Reader};
use super::flow::Flow;

/// Control messages that may wait on one channel. Their sender waits for an answer to most of them, so few ever do.
const CONTROL_QUEUE: usize = 64;

/// All channels of one connection. `C` is what a channel's owner is told besides data: requests on a server, answers to
/// requests on a client.
#[derive(Debug)]
pub(super) struct Ports<C> {
    flow: Arc<Flow>,
    table: Mutex<Table<C>>,
}

#[derive(Debug)]
struct Table<C> {
    open: HashMap<u32, Port<C>>,
    /// How many channels this side is opening.
    opening: usize,
    ended: bool,
}

#[derive(Debug)]
struct Port<C> {
    inlet: Inlet,
    control: mpsc::Sender<C>,
    closed: CancellationToken,
    /// Until somebody takes them.
    ends: Option<Ends<C>>,
}

/// A channel's receiving ends.
#[derive(Debug)]
pub(super) struct Ends<C> {
    pub(super) reader: Reader,
    pub(super) control: mpsc::Receiver<C>,
    pub(super) closed: CancellationToken,
}

impl<C> Port<C> {
    fn new(flow: &Arc<Flow>) -> Self {
        let (inlet, reader) = Inlet::new(Arc::clone(flow));
        let (control, controls) = mpsc::channel(CONTROL_QUEUE);
        let closed = CancellationToken::new();
        let ends = Some(Ends { reader, control: controls, closed: closed.clone() });
        Self { inlet, control, closed, ends }
    }

    /// The ends of a channel that is closed.
    fn gone(flow: &Arc<Flow>) -> Ends<C> {
        let mut port = Self::new(flow);
        port.closed.cancel();
        port.ends.take().expect("a new port has its ends")
    }
}

impl<C> Ports<C> {
    pub(super) fn new(flow: Arc<Flow>) -> Arc<Self> {
        let table = Table { open: HashMap::new(), opening: 0, ended: false };
        Arc::new(Self { flow, table: Mutex::new(table) })
    }

    /// The receiving ends of a channel that the peer opens; already closed ones when the connection has ended.
    pub(super) fn accept(&self, id: u32) -> Ends<C> {
        let mut table = self.lock();
        if table.ended {
            return Port::gone(&self.flow);
        }
        let mut port = Port::new(&self.flow);
        let ends = port.ends.take().expect("a new port has its ends");
        // The engine gives every channel a number of its own; if it did not, the first owner would see its end.
        if let Some(old) = table.open.insert(id, port) {
            old.closed.cancel();
        }
        ends
    }

    /// This side is about to open a channel.
    pub(super) fn opening(self: &Arc<Self>) -> Opening<C> {
        self.lock().opening += 1;
        Opening(Arc::clone(self))
    }

    /// The peer confirms a channel that this side opens. Says no when nobody waits for it any more.
    pub(super) fn confirm(&self, id: u32) -> bool {
        let mut table = self.lock();
        if table.open.contains_key(&id) {
            return true;
        }
        let waiting = table.open.values().filter(|port| port.ends.is_some()).count();
        if table.ended || waiting >= table.opening {
            return false;
        }
        table.open.insert(id, Port::new(&self.flow));
        true
    }

    /// Delivers data or an end; to a channel that is not open, to nobody.
    pub(super) fn deliver(&self, id: u32, inbound: Inbound) {
        if let Some(port) = self.lock().open.get_mut(&id)
            && !port.closed.is_cancelled()
        {
            port.inlet.put(inbound);
        }
    }

    /// Delivers a control message; gives it back when the channel is not open or its owner is far behind.
    pub(super) fn control(&self, id: u32, message: C) -> Result<(), C> {
        self.flow.touch();
        let control = self.lock().open.get(&id).map(|port| port.control.clone());
        match control {
            Some(control) => control.try_send(message).map_err(mpsc::error::TrySendError::into_inner),
            None => Err(message),
        }
    }

    /// Whether a channel's reader has enough to go on with.
    pub(super) fn is_high(&self, id: u32) -> bool {
        self.lock().open.get(&id).is_some_and(|port| port.inlet.is_high())
    }

    /// The channel is closed. What came before stays for an opener that has yet to take it.
    pub(super) fn remove(&self, id: u32) {
        if let Entry::Occupied(port) = self.lock().open.entry(id) {
            port.get().closed.cancel();
            if port.get().ends.is_none() {
                port.remove();
            }
        }
    }

    /// The connection is over.
    pub(super) fn end(&self) {
        let mut table = self.lock();
        table.ended = true;
        for (_, port) in table.open.drain() {
            port.closed.cancel();
        }
    }

    /// How many channels are open.
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table<C>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One channel that this side is opening, until its number is known or it is given up.
#[derive(Debug)]
pub(super) struct Opening<C>(Arc<Ports<C>>);

impl<C> Opening<C> {
    /// The receiving ends of the channel that was opened; closed ones when it is closed already.
    pub(super) fn take(self, id: u32) -> Ends<C> {
        let ports = &self.0;
        let mut table = ports.lock();
        if table.ended {
            return Port::gone(&ports.flow);
        }
        // The engine wakes the opener before it calls `confirm`, so either may be first.
        let port = table.open.entry(id).or_insert_with(|| Port::new(&ports.flow));
        let ends = port.ends.take();
        if port.closed.is_cancelled() {
            table.open.remove(&id);
        }
        ends.unwrap_or_else(|| Port::gone(&ports.flow))
    }
}

impl<C> Drop for Opening<C> {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.opening -= 1;
        if table.opening == 0 {
            // Confirmed for an opener that gave up at that moment.
            table.open.retain(|_, port| port.ends.is_none());
        }
    }
}

/// Takes one channel out of the table.
pub(super) struct Release {
    id: u32,
    table: Weak<dyn Remove>,
}

trait Remove: Send + Sync {
    fn remove(&self, id: u32);
}

impl<C: Send + 'static> Remove for Ports<C> {
    fn remove(&self, id: u32) {
        Ports::remove(self, id);
    }
}

impl Release {
    pub(super) fn new<C: Send + 'static>(ports: &Arc<Ports<C>>, id: u32) -> Self {
        let table: Weak<Ports<C>> = Arc::downgrade(ports);
        Self { id, table }
    }

    pub(super) fn now(&self) {
        if let Some(table) = self.table.upgrade() {
            table.remove(self.id);
        }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Release({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;
    use crate::ssh::channel::Inbound;
    use crate::ssh::flow::{Flow, MemoryBudget};
    use bytes::Bytes;
    use std::sync::Arc;

    fn ports() -> (Arc<Flow>, Arc<Ports<bool>>) {
        let flow = Flow::new(MemoryBudget::new(1 << 30));
        (flow.clone(), Ports::new(flow))
    }

    fn word() -> Inbound {
        Inbound::Data(Bytes::from_static(b"word"))
    }

    #[tokio::test]
    async fn what_comes_for_a_closed_channel_does_not_bring_it_back() {
        let (flow, ports) = ports();
        let ends = ports.accept(1);
        ports.deliver(1, word());
        ports.remove(1);
        assert!(ends.closed.is_cancelled());
        drop(ends);
        for inbound in [word(), Inbound::Eof] {
            ports.deliver(1, inbound);
        }
        ports.deliver(2, word());
        assert_eq!((ports.count(), flow.queued()), (0, 0));
        assert!(ports.control(1, true).is_err());
    }

    #[tokio::test]
    async fn what_comes_before_the_opener_knows_the_number_waits_for_it() {
        let (_, ports) = ports();
        let (one, two) = (ports.opening(), ports.opening());
        assert!(ports.confirm(7) && ports.confirm(8));
        ports.deliver(7, word());
        ports.deliver(8, word());
        ports.remove(8);
        ports.deliver(8, word());
        let mut open = one.take(7);
        assert_eq!(open.reader.next().await, Some(word()));
        assert!(!open.closed.is_cancelled());
        let mut closed = two.take(8);
        assert!(closed.closed.is_cancelled());
        assert_eq!(closed.reader.next().await, Some(word()));
        assert_eq!(closed.reader.next().await, None, "nothing is taken after the close");
        assert_eq!(ports.count(), 1);
    }

    #[test]
    fn a_confirmation_that_nobody_waits_for_opens_nothing() {
        let (_, ports) = ports();
        assert!(!ports.confirm(3));
        let opening = ports.opening();
        assert!(ports.confirm(3) && ports.confirm(3), "saying it twice changes nothing");
        assert!(!ports.confirm(4));
        drop(opening);
        assert_eq!(ports.count(), 0, "its opener gave up");
        let ends = ports.opening().take(5);
        assert!(ports.confirm(5), "the opener was faster");
        assert!(!ends.closed.is_cancelled());
        ports.end();
        assert!(ports.opening().take(6).closed.is_cancelled());
    }
}
