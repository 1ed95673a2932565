//! What a client does with the engine's events. Whatever a server wants of a client is refused, except connections to
//! listeners that the client asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ::ssh::OpenFailure;
use ::ssh::connection::{ChannelEvent, ChannelId, Event, GlobalAnswer, Purpose};
use tokio::sync::{mpsc, oneshot};

use super::super::channel::{Anchor, halves};
use super::super::drive::Side;
use super::super::link::{Link, Port};
use super::Forwarded;

/// Who waits for answers about listeners, in the order of the questions.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners(Arc<Mutex<VecDeque<oneshot::Sender<GlobalAnswer>>>>);

impl Listeners {
    /// Asks, and takes a place in the queue of those who did.
    pub(super) fn ask(&self, ask: impl FnOnce()) -> oneshot::Receiver<GlobalAnswer> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(sender);
        // While the queue is held, so that the order is the same on both sides.
        ask();
        answer
    }

    fn answer(&self, answer: GlobalAnswer) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
}

pub(super) struct ClientSide {
    /// What keeps the connection; not kept by the connection itself.
    anchor: Weak<Anchor>,
    forwarded: mpsc::Sender<Forwarded>,
    listeners: Listeners,
}

impl ClientSide {
    pub(super) fn new(
        anchor: &Arc<Anchor>,
        forwarded: mpsc::Sender<Forwarded>,
        listeners: Listeners,
    ) -> Self {
        Self { anchor: Arc::downgrade(anchor), forwarded, listeners }
    }

    fn offered(&self, link: &Arc<Link>, id: ChannelId, purpose: Purpose) {
        let (Purpose::ForwardedTcpip { address, port, origin }, Ok(slot)) =
            (purpose, self.forwarded.try_reserve())
        else {
            return link.act(|state| state.connection.reject(id, OpenFailure::Prohibited, "not allowed"));
        };
        let (mailbox, _) = Port::for_answers();
        link.act(|state| {
            state.connection.accept(id);
            state.plug(id, &mailbox);
        });
        let (reader, writer) = halves(link, mailbox, id, self.anchor.upgrade());
        slot.send(Forwarded {
            address,
            port,
            origin: (printable(&origin.address), origin.port),
            reader,
            writer,
        });
    }
}

impl Side for ClientSide {
    fn event(&mut self, link: &Arc<Link>, event: Event) {
        match event {
            Event::Channel(id, ChannelEvent::Offered(purpose)) => self.offered(link, id, purpose),
            Event::Channel(id, ChannelEvent::Opened) => link.opened(id, self.anchor.upgrade()),
            Event::Channel(id, ChannelEvent::Failed { text, .. }) => link.failed(id, text),
            Event::GlobalAnswer(answer) => self.listeners.answer(answer),
            Event::Channel(..)
            | Event::Sign(_)
            | Event::Request(..)
            | Event::Global(..)
            | Event::CancelListen(_) => {}
        }
    }
}

/// Words of a server that end up on a terminal or in a log.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1024).collect()
}
