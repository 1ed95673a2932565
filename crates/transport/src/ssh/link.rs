//! A live connection as everybody who uses it has it: the engine behind a lock, and the ways to wake whoever waits.
//!
//! Nobody waits with the lock held. The task of [`super::drive`] carries bytes between the engine and the network;
//! readers and writers of channels act on the engine by themselves and wake that task when there is something to send.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ::ssh::connection::{ChannelId, Connection, Purpose};
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::channel::{Anchor, Reader, Writer, halves};
use super::client::OpenError;
use super::meter::{Ended, MemoryBudget, Meter, Share};
use super::server::Request;

/// Requests that may wait on one channel, and answers. The engine bounds those that want an answer; what is on top of
/// these is dropped.
const CONTROL_QUEUE: usize = 64;

pub(super) struct Link {
    pub(super) meter: Arc<Meter>,
    state: Mutex<State>,
    /// The task that does the I/O.
    pub(super) io: AtomicWaker,
    ended: CancellationToken,
    reason: OnceLock<Ended>,
}

pub(super) struct State {
    pub(super) connection: Connection,
    ports: HashMap<ChannelId, Arc<Port>>,
    opening: HashMap<ChannelId, Opener>,
    pub(super) share: Share,
    /// The task does not read because too much waits.
    pub(super) is_holding: bool,
    /// The peer was told that this is the end.
    pub(super) goodbye: bool,
    is_over: bool,
}

/// What a channel of ours consists of: its halves, and the answers to requests on it.
pub(super) type Opened = (Reader, Writer, mpsc::Receiver<bool>);

/// Somebody who waits for a channel of ours.
pub(super) struct Opener {
    answer: oneshot::Sender<Result<Opened, OpenError>>,
    port: Arc<Port>,
    answers: mpsc::Receiver<bool>,
}

/// Where what is told about a channel goes.
#[derive(Debug)]
pub(super) struct Port {
    /// There is something to take, or there will never be.
    pub(super) readable: Notify,
    /// There is room to write, or there will never be.
    pub(super) writable: Notify,
    pub(super) closed: CancellationToken,
    control: Mutex<Option<Control>>,
}

/// What a channel's owner is told besides.
#[derive(Debug)]
enum Control {
    /// A server: what the client asks for.
    Requests(mpsc::Sender<Request>),
    /// A client: answers to requests.
    Answers(mpsc::Sender<bool>),
}

impl Port {
    pub(super) fn for_requests() -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(CONTROL_QUEUE);
        (Arc::new(Self::new(Control::Requests(sender))), receiver)
    }

    pub(super) fn for_answers() -> (Arc<Self>, mpsc::Receiver<bool>) {
        let (sender, receiver) = mpsc::channel(CONTROL_QUEUE);
        (Arc::new(Self::new(Control::Answers(sender))), receiver)
    }

    fn new(control: Control) -> Self {
        let closed = CancellationToken::new();
        Self { readable: Notify::new(), writable: Notify::new(), closed, control: Mutex::new(Some(control)) }
    }

    fn control(&self) -> MutexGuard<'_, Option<Control>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that nobody takes is dropped, and so refused.
    pub(super) fn request(&self, request: Request) {
        let control = self.control();
        let refused = match &*control {
            Some(Control::Requests(requests)) => requests.try_send(request).err(),
            _ => None,
        };
        // Its drop may answer, and does not need to find this locked.
        drop(control);
        drop(refused);
    }

    pub(super) fn answer(&self, yes: bool) {
        if let Some(Control::Answers(answers)) = &*self.control() {
            let _ = answers.try_send(yes);
        }
    }

    /// Nothing more comes, and nothing more can be sent.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.control().take();
        self.readable.notify_one();
        self.writable.notify_waiters();
    }
}

impl Link {
    pub(super) fn new(connection: Connection, meter: Arc<Meter>, budget: Arc<MemoryBudget>) -> Arc<Self> {
        let state = State {
            connection,
            ports: HashMap::new(),
            opening: HashMap::new(),
            share: Share::of(budget),
            is_holding: false,
            goodbye: false,
            is_over: false,
        };
        Arc::new(Self {
            meter,
            state: Mutex::new(state),
            io: AtomicWaker::new(),
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts on the engine and has what follows from it sent.
    pub(super) fn act<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let outcome = action(&mut state);
        let wake = state.connection.has_output();
        drop(state);
        if wake {
            self.io.wake();
        }
        outcome
    }

    /// Tells the peer why and ends the connection; the first reason counts.
    pub(super) fn disconnect(&self, reason: &str) {
        let _ = self.reason.set(Ended::Local(reason.to_owned()));
        let mut state = self.lock();
        if !std::mem::replace(&mut state.goodbye, true) {
            state.connection.disconnect(reason);
        }
        drop(state);
        self.io.wake();
    }

    /// Nobody can use the connection any more; the peer may still be told so.
    pub(super) fn close(&self, reason: &Ended) {
        let _ = self.reason.set(reason.clone());
        let mut state = self.lock();
        state.is_over = true;
        let (ports, opening) = (std::mem::take(&mut state.ports), std::mem::take(&mut state.opening));
        drop(state);
        for port in ports.values() {
            port.close();
        }
        for opener in opening.into_values() {
            let _ = opener.answer.send(Err(OpenError::Ended(self.reason())));
        }
    }

    /// Nothing is left of it.
    pub(super) fn finish(&self) {
        self.ended.cancel();
    }

    pub(super) fn reason(&self) -> Ended {
        self.reason.get().cloned().unwrap_or(Ended::Peer(String::new()))
    }

    pub(super) async fn ended(&self) -> Ended {
        self.ended.cancelled().await;
        self.reason()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Asks the peer for a channel and waits for its answer, so long at most.
    pub(super) async fn open(&self, purpose: &Purpose, limit: Duration) -> Result<Opened, OpenError> {
        let (answer, opened) = oneshot::channel();
        let (port, answers) = Port::for_answers();
        let asked = self.act(|state| {
            if state.is_over || state.goodbye {
                return Err(OpenError::Ended(self.reason()));
            }
            let id = state.connection.open(purpose);
            let id = id.ok_or_else(|| OpenError::Rejected("too many channels are open".to_owned()))?;
            state.plug(id, &port);
            state.opening.insert(id, Opener { answer, port, answers });
            Ok(id)
        });
        let _given_up = GivenUp { link: self, id: asked? };
        match tokio::time::timeout(limit, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(OpenError::Ended(self.reason())),
            Err(_) => Err(OpenError::Timeout(limit)),
        }
    }

    /// The peer opened a channel that was asked for.
    pub(super) fn opened(self: &Arc<Self>, id: ChannelId, anchor: Option<Arc<Anchor>>) {
        let opener = self.lock().opening.remove(&id);
        if let Some(Opener { answer, port, answers }) = opener {
            let (reader, writer) = halves(self, port, id, anchor);
            let _ = answer.send(Ok((reader, writer, answers)));
        }
    }

    /// The peer did not.
    pub(super) fn failed(&self, id: ChannelId, text: String) {
        let mut state = self.lock();
        state.ports.remove(&id);
        let opener = state.opening.remove(&id);
        drop(state);
        if let Some(opener) = opener {
            let _ = opener.answer.send(Err(OpenError::Rejected(text)));
        }
    }

    /// The peer closed a channel.
    pub(super) fn closed(&self, id: ChannelId) {
        let port = self.lock().port(id).cloned();
        if let Some(port) = port {
            port.close();
        }
    }
}

impl State {
    pub(super) fn port(&self, id: ChannelId) -> Option<&Arc<Port>> {
        self.ports.get(&id)
    }

    /// From now on what is told about a channel goes there.
    pub(super) fn plug(&mut self, id: ChannelId, port: &Arc<Port>) {
        if self.is_over {
            port.close();
        } else {
            self.ports.insert(id, Arc::clone(port));
        }
    }

    /// Nobody has a use for a channel any more.
    pub(super) fn release(&mut self, id: ChannelId) {
        self.ports.remove(&id);
        self.connection.release(id);
        self.share.set(self.connection.unread());
    }
}

/// A channel that was asked for and that nobody waits for any more when this goes: should the peer open it after all, it
/// is closed again at once.
struct GivenUp<'l> {
    link: &'l Link,
    id: ChannelId,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.link.act(|state| {
            if state.opening.remove(&self.id).is_some() {
                state.release(self.id);
            }
        });
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("traffic", &self.meter.traffic()).finish_non_exhaustive()
    }
}
