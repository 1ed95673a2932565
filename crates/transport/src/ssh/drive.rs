//! The task that carries bytes between the network and the engine of one connection, and the engine's events to
//! whoever they concern.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::ssh::connection::{ChannelEvent, Event};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::link::{Link, State};
use super::meter::Ended;
use super::wire::Wire;

/// How long a peer that was told to go, or that we are leaving, may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How soon a connection that is held for want of memory looks whether there is some.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What the two roles do with events that are theirs alone.
pub(super) trait Side: Send + 'static {
    /// Deals with an event that is not about a channel that is already known.
    fn event(&mut self, link: &Arc<Link>, event: Event);
}

/// Runs a connection to its end.
pub(super) async fn drive<IO, S>(wire: Wire<IO>, link: Arc<Link>, side: S)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Side,
{
    let _end = End(Arc::clone(&link));
    let timer = Box::pin(tokio::time::sleep_until(Instant::now()));
    let mut driver = Driver { wire, link: Arc::clone(&link), side, timer };
    let reason = std::future::poll_fn(|cx| driver.poll(cx)).await;
    let Driver { wire, side, .. } = driver;
    link.close(&reason);
    // Nobody is kept waiting for what the peer makes of it.
    drop(side);
    if link.lock().goodbye {
        let _ = tokio::time::timeout(FAREWELL, part(wire, &link)).await;
    }
}

/// The end of a connection, also of one whose task died: nobody is left waiting for it.
struct End(Arc<Link>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close(&Ended::Broken("the connection was dropped".to_owned()));
        self.0.finish();
    }
}

/// Sends what is left to be said.
async fn part<IO: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<IO>, link: &Link) {
    if wire.send().await.is_ok() {
        wire.collect(|output| link.lock().connection.take_output(output));
        wire.farewell().await;
    }
}

struct Driver<IO, S> {
    wire: Wire<IO>,
    link: Arc<Link>,
    side: S,
    timer: Pin<Box<Sleep>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Side> Driver<IO, S> {
    /// Ready when the connection is over, with the reason.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.link.io.register(cx.waker());
        loop {
            let took = match self.take_in() {
                Ok(took) => took,
                Err(reason) => return Poll::Ready(reason),
            };
            let sent = match self.wire.poll_send(cx) {
                Poll::Ready(Ok(())) => self.link.lock().connection.has_output(),
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Pending => false,
            };
            let read = match self.read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ended::Peer(String::new())),
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Pending => false,
            };
            if !took && !sent && !read && self.rest(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Hands the engine what came in and takes what it wants to send. Says whether anything moved.
    fn take_in(&mut self) -> Result<bool, Ended> {
        let mut state = self.link.lock();
        if state.goodbye {
            return Err(self.link.reason());
        }
        let now = self.link.meter.now();
        let ticked = state.connection.tick(now);
        let taken = ticked.and_then(|()| self.wire.offer(|input| state.connection.receive(input)));
        if let Err(error) = &taken {
            // What there is to say about it lies in the output.
            state.goodbye = matches!(error, ::ssh::Error::Violation(_));
        }
        // What came before an error holds.
        let mut others = Vec::new();
        let happened = tell_all(&mut state, &mut others);
        if taken.is_ok() {
            self.wire.collect(|output| state.connection.take_output(output));
            // Writers were told that there is room.
            tell_all(&mut state, &mut others);
            let unread = state.connection.unread();
            state.share.set(unread);
        }
        drop(state);
        for event in others {
            self.hand_on(event);
        }
        Ok(taken? || happened)
    }

    /// Nothing is locked here: what is handed on may be dropped at once, and say something as it goes.
    fn hand_on(&mut self, event: Event) {
        match event {
            Event::Channel(id, ChannelEvent::Closed) => self.link.closed(id),
            // Fresh keys are no sign of a user.
            Event::Sign(_) => self.side.event(&self.link, event),
            event => {
                self.link.meter.touch();
                self.side.event(&self.link, event);
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut state = self.link.lock();
        state.is_holding = state.share.is_used_up();
        if state.is_holding {
            state.connection.was_deaf();
        }
        let deaf = state.is_holding || state.connection.is_waiting();
        drop(state);
        if deaf || !self.wire.has_room() { Poll::Pending } else { self.wire.poll_fill(cx) }
    }

    /// Whether there is nothing to do before something happens.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let state = self.link.lock();
        let mut deadline = state.connection.deadline();
        if state.is_holding {
            // Other connections give memory back without a word to this one.
            deadline = deadline.min(self.link.meter.now() + LOOK_AGAIN);
        }
        drop(state);
        let moment = Instant::from_std(self.link.meter.moment(deadline));
        // A timer that is early only means a look at nothing; moved on each time, it would cost more.
        if moment < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(moment);
        }
        self.timer.as_mut().poll(cx).is_pending()
    }
}

/// Wakes whoever the events of channels concern and collects those for others. Says whether there was any.
fn tell_all(state: &mut State, others: &mut Vec<Event>) -> bool {
    let mut any = false;
    while let Some(event) = state.connection.event() {
        any = true;
        others.extend(tell(state, event));
    }
    any
}

/// Wakes whoever a channel's event concerns; gives back an event for others.
fn tell(state: &mut State, event: Event) -> Option<Event> {
    let Event::Channel(id, what) = event else { return Some(event) };
    match (what, state.port(id)) {
        (ChannelEvent::Readable, Some(port)) => port.readable.notify_one(),
        (ChannelEvent::Writable, Some(port)) => port.writable.notify_waiters(),
        (ChannelEvent::Answered(yes), Some(port)) => port.answer(yes),
        // The end of a channel among them: requests that came before it are handed on before it.
        (
            what @ (ChannelEvent::Offered(_)
            | ChannelEvent::Opened
            | ChannelEvent::Failed { .. }
            | ChannelEvent::Closed),
            _,
        ) => return Some(Event::Channel(id, what)),
        (_, None) => {}
    }
    None
}

fn broken(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Ended::Peer(String::new())
        }
        _ => Ended::Broken(error.to_string()),
    }
}
