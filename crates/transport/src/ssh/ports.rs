//! Where what arrives for a channel goes: channel number to queues.
//!
//! The engine may deliver to a channel before the side that opened it knows its number, so an entry comes into being
//! with whichever is first.

use std::collections::HashMap;
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
}

impl<C> Ports<C> {
    pub(super) fn new(flow: Arc<Flow>) -> Arc<Self> {
        Arc::new(Self { flow, table: Mutex::new(Table { open: HashMap::new(), ended: false }) })
    }

    /// The receiving ends of a channel; already closed ones when the connection has ended.
    pub(super) fn take(&self, id: u32) -> Ends<C> {
        let mut table = self.lock();
        let ended = table.ended;
        let port = table.open.entry(id).or_insert_with(|| Port::new(&self.flow));
        let ends = port.ends.take();
        if ended {
            table.open.remove(&id).inspect(|port| port.closed.cancel());
        }
        drop(table);
        ends.unwrap_or_else(|| {
            // A number that is taken twice can only be one that the engine reused: let the second owner see it closed.
            let port = Port::new(&self.flow);
            port.closed.cancel();
            port.ends.expect("a new port has its ends")
        })
    }

    /// Delivers data or an end.
    pub(super) fn deliver(&self, id: u32, inbound: Inbound) {
        let mut table = self.lock();
        if !table.ended {
            table.open.entry(id).or_insert_with(|| Port::new(&self.flow)).inlet.put(inbound);
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

    /// The channel is closed.
    pub(super) fn remove(&self, id: u32) {
        if let Some(port) = self.lock().open.remove(&id) {
            port.closed.cancel();
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
