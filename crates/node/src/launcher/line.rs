//! The node's end of the launcher's socket.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exec::Exit;
use launcher::post::{Parcel, ReceiveError, receive};
use launcher::protocol::{Answer, Ask, Request, SessionId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How a session ended, once it has.
pub(super) type Ending = watch::Receiver<Option<Exit>>;

pub(super) struct Line {
    socket: AsyncFd<OwnedFd>,
    state: Mutex<State>,
    /// There is something to send that could not be sent at once.
    waiting: Notify,
    gone: CancellationToken,
}

#[derive(Default)]
struct State {
    last: Ask,
    asked: HashMap<Ask, oneshot::Sender<Answer>>,
    /// Those who handed a policy over, in order.
    policies: VecDeque<oneshot::Sender<Answer>>,
    sessions: HashMap<SessionId, watch::Sender<Option<Exit>>>,
    outbox: VecDeque<(Parcel, Vec<Passed>)>,
}

/// A descriptor that goes with a message.
#[derive(Debug)]
pub(super) enum Passed {
    Shared(Arc<OwnedFd>),
    Own(OwnedFd),
}

impl AsFd for Passed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shared(fd) => fd.as_fd(),
            Self::Own(fd) => fd.as_fd(),
        }
    }
}

impl Line {
    /// Serves the socket for as long as somebody has a use for it.
    pub(super) fn open(socket: OwnedFd) -> io::Result<Arc<Self>> {
        let line = Arc::new(Self {
            socket: watched(socket)?,
            state: Mutex::default(),
            waiting: Notify::new(),
            gone: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&line).run());
        Ok(line)
    }

    /// Returns when the launcher is gone.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Asks, and waits for the answer. Nothing when the launcher is gone.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: impl FnOnce(Ask) -> Request,
        descriptors: Vec<Passed>,
    ) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        let ask = {
            let mut state = self.state();
            state.last = state.last.wrapping_add(1);
            let ask = state.last;
            state.asked.insert(ask, sender);
            ask
        };
        let _unasked = Unasked { line: self, ask };
        self.post(&request(ask), descriptors);
        self.hear(answer).await
    }

    /// The same for what is answered in order.
    pub(super) async fn hand_over(&self, request: &Request) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            state.policies.push_back(sender);
            self.put(&mut state, request, Vec::new());
        }
        self.hear(answer).await
    }

    async fn hear(&self, answer: oneshot::Receiver<Answer>) -> Option<Answer> {
        tokio::select! {
            answer = answer => answer.ok(),
            () = self.gone.cancelled() => None,
        }
    }

    /// Tells.
    pub(super) fn post(&self, request: &Request, descriptors: Vec<Passed>) {
        self.put(&mut self.state(), request, descriptors);
    }

    /// Whether something waits to be sent.
    pub(super) fn is_busy(&self) -> bool {
        !self.state().outbox.is_empty()
    }

    /// How a session that was launched ends.
    pub(super) fn ending(&self, session: SessionId) -> Option<Ending> {
        self.state().sessions.get(&session).map(watch::Sender::subscribe)
    }

    /// Nobody asks for that one any more.
    pub(super) fn forget(&self, session: SessionId) {
        self.state().sessions.remove(&session);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, state: &mut State, request: &Request, descriptors: Vec<Passed>) {
        match Parcel::new(request.encode()) {
            Ok(parcel) => state.outbox.push_back((parcel, descriptors)),
            // Out of memory or descriptors. Who asks would wait for ever.
            Err(error) => {
                tracing::error!(%error, "cannot write to the launcher");
                return self.gone.cancel();
            }
        }
        if !self.flush(state) {
            self.waiting.notify_one();
        }
    }

    /// Sends what can be sent now; says whether that was all.
    fn flush(&self, state: &mut State) -> bool {
        while let Some((parcel, descriptors)) = state.outbox.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match parcel.send(self.socket.get_ref(), &borrowed) {
                Ok(()) => drop(state.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.gone.cancel();
                    return true;
                }
            }
        }
        true
    }

    async fn run(self: Arc<Self>) {
        let mut buffer = Vec::new();
        loop {
            let interest = match self.state().outbox.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let ready = tokio::select! {
                ready = self.socket.ready(interest) => ready,
                () = self.waiting.notified() => continue,
                () = self.gone.cancelled() => break,
            };
            let Ok(mut ready) = ready else { break };
            if ready.ready().is_writable() && !self.flush(&mut self.state()) {
                ready.clear_ready_matching(tokio::io::Ready::WRITABLE);
            }
            if !ready.ready().is_readable() {
                continue;
            }
            match receive(self.socket.get_ref(), &mut buffer) {
                Ok(message) => match Answer::decode(&message.bytes) {
                    Ok(answer) => self.take(answer),
                    Err(error) => {
                        tracing::error!(%error, "the launcher is not understood");
                        break;
                    }
                },
                Err(ReceiveError::Nothing) => ready.clear_ready_matching(tokio::io::Ready::READABLE),
                Err(_) => break,
            }
        }
        self.gone.cancel();
        let mut state = self.state();
        state.asked.clear();
        state.policies.clear();
        for (_, ending) in state.sessions.drain() {
            ending.send_replace(Some(Exit::FAILED));
        }
    }

    fn take(&self, answer: Answer) {
        let mut state = self.state();
        let asked = match &answer {
            Answer::Ready { .. } => None,
            Answer::Policy(_) => state.policies.pop_front(),
            Answer::Signed(ask, _) | Answer::Judged(ask, _) => state.asked.remove(ask),
            Answer::Launched(ask, outcome) => {
                let asked = state.asked.remove(ask);
                if let Ok(running) = outcome {
                    // Before anybody knows of it, its end may be told.
                    state.sessions.insert(running.session, watch::Sender::new(None));
                }
                asked
            }
            Answer::Ended(session, exit) => {
                if let Some(ending) = state.sessions.get(session) {
                    ending.send_replace(Some(*exit));
                }
                return;
            }
        };
        // Who asked may have gone away, and what came of it must not stay.
        let unheard = match asked {
            Some(asked) => asked.send(answer).err(),
            None => Some(answer),
        };
        match unheard {
            Some(Answer::Launched(_, Ok(running))) => {
                state.sessions.remove(&running.session);
                self.put(&mut state, &Request::Release(running.session), Vec::new());
            }
            Some(Answer::Judged(_, Ok(admission))) => {
                self.put(&mut state, &Request::Close(admission), Vec::new());
            }
            _ => {}
        }
    }
}

/// A question whose asker has gone away before the answer.
struct Unasked<'l> {
    line: &'l Line,
    ask: Ask,
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        self.line.state().asked.remove(&self.ask);
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

#[expect(
    deprecated,
    reason = "the other constructor is unsafe for types whose descriptor can change; an OwnedFd's cannot"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)
}
