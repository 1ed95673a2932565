//! What was started, from the start of its helper to its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use exec::session::Act;
use exec::{Session, SessionRequest, SessionSignal, SpawnError, Started, Starting};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::process::{Resource, getrlimit};

use super::guard::Guard;
use super::orders::Orders;
use super::peer::Peer;
use super::places::{Full, Place, Places};
use crate::decision::{Admission, View};
use crate::protocol::{
    Answer, Ask, Denied, LEAST_SHARE, MAX_LAUNCHES, MAX_SESSIONS, Running, SHARE, SessionId,
};

/// How long the host's name services may take to find the account.
const PATIENCE: Duration = Duration::from_secs(20);
/// Descriptors that no session gets, so that messages with descriptors can always be taken.
const RESERVE: usize = 2 * MAX_LAUNCHES;
/// How long what was killed may take to end before the launcher does.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The lowest bit of what epoll gives back says which of a session's two descriptors it is.
const CONTROL: u64 = 1;

pub(super) struct Sessions {
    epoll: OwnedFd,
    all: HashMap<SessionId, Kept>,
    last: SessionId,
    places: Places,
    launches: Places,
    /// What is to be done to processes.
    orders: Orders,
}

/// Something that was started.
struct Kept {
    entry: Entry,
    whose: Whose,
    place: Place,
}

/// On whose behalf something was started.
pub(super) struct Whose {
    pub(super) admission: Rc<Admission>,
    pub(super) peer: Peer,
}

enum Entry {
    Starting {
        ask: Ask,
        starting: Starting,
        until: Instant,
        place: Place,
    },
    Running {
        session: Session,
        uid: u32,
    },
    /// Its first process has ended, and the node was told.
    Ended {
        session: Session,
    },
    /// The node let it go; its first process has yet to end.
    Dying {
        session: Session,
    },
    /// It goes on for itself.
    Abandoned {
        session: Session,
    },
}

impl Entry {
    fn session(&self) -> &Session {
        match self {
            Self::Starting { starting, .. } => starting.session(),
            Self::Running { session, .. }
            | Self::Ended { session }
            | Self::Dying { session }
            | Self::Abandoned { session } => session,
        }
    }
}

impl Sessions {
    /// Watched by this epoll under numbers from `2 * (first + 1)` on.
    pub(super) fn new(epoll: OwnedFd, first: SessionId) -> Self {
        let most = most_sessions();
        Self {
            epoll,
            all: HashMap::new(),
            last: first,
            places: Places::new(most, (most / SHARE).max(LEAST_SHARE)),
            launches: Places::new(MAX_LAUNCHES, (MAX_LAUNCHES / SHARE).max(LEAST_SHARE)),
            orders: Orders::new(),
        }
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Begins to start something. What becomes of it follows.
    pub(super) fn begin(
        &mut self,
        ask: Ask,
        helper: &Path,
        request: &SessionRequest,
        theirs: &[OwnedFd],
        whose: Whose,
        guard: &Guard,
    ) -> Result<(), Denied> {
        let launch = self.launches.take(&request.login).map_err(|full| busy(full, "is starting"))?;
        let place = self.places.take(&request.login).map_err(|full| busy(full, "has"))?;
        let (id, mut told) = (self.last + 1, None);
        let begun = Starting::begin(helper, request, theirs, |session| {
            told = Some(session.pid());
            guard.begin(session)
        });
        let watched = begun.map_err(|error| failed(&error)).and_then(|starting| {
            let watched = watch(&self.epoll, starting.as_fd(), 2 * id + CONTROL);
            watched.map(|()| starting).map_err(|error| Denied::new("node_error", error.to_string()))
        });
        let starting = watched.inspect_err(|_| {
            // It was ended with the value that held it.
            let _ = told.map(|session| guard.end(session));
        })?;
        self.last = id;
        let until = Instant::now() + PATIENCE;
        let entry = Entry::Starting { ask, starting, until, place: launch };
        self.all.insert(id, Kept { entry, whose, place });
        Ok(())
    }

    /// Something has happened to what epoll knows by this number.
    pub(super) fn happened(&mut self, number: u64, guard: &Guard) -> Option<Answer> {
        let id = number / 2;
        match number % 2 {
            CONTROL => self.heard(id, guard),
            _ => self.ended(id, guard),
        }
    }

    /// A helper has said something, or closed its end.
    fn heard(&mut self, id: SessionId, guard: &Guard) -> Option<Answer> {
        let Entry::Starting { starting, .. } = &mut self.all.get_mut(&id)?.entry else { return None };
        let outcome = match starting.look() {
            Ok(None) => return None,
            Ok(Some(outcome)) => outcome.map_err(|failure| failed(&failure.into())),
            Err(error) => Err(Denied::new("node_error", error.to_string())),
        };
        self.conclude(id, outcome, guard)
    }

    fn conclude(&mut self, id: SessionId, outcome: Result<Started, Denied>, guard: &Guard) -> Option<Answer> {
        let kept = self.all.remove(&id)?;
        let Entry::Starting { ask, starting, place, .. } = kept.entry else {
            self.all.insert(id, kept);
            return None;
        };
        drop(place);
        let _ = epoll::delete(&self.epoll, &starting);
        let session = starting.into_session();
        let watched = watch(&self.epoll, session.as_fd(), 2 * id);
        let watched = watched.map_err(|error| Denied::new("node_error", error.to_string()));
        let (entry, outcome) = match watched.and(outcome) {
            Ok(Started { pid, uid, group: _ }) => {
                // Where it has moved there itself, nobody knew of it before.
                let _ = guard.begin(&session);
                (Some(Entry::Running { session, uid }), Ok(Running { session: id, pid, uid }))
            }
            Err(denied) => (self.discard(session, guard), Err(denied)),
        };
        self.keep(id, entry, kept.whose, kept.place);
        Some(Answer::Launched(ask, outcome))
    }

    fn keep(&mut self, id: SessionId, entry: Option<Entry>, whose: Whose, place: Place) {
        if let Some(entry) = entry {
            self.all.insert(id, Kept { entry, whose, place });
        }
    }

    /// Goes over to what comes next of something, which may be nothing.
    fn next(&mut self, id: SessionId, next: impl FnOnce(&mut Self, Entry, &Whose) -> Option<Entry>) {
        if let Some(Kept { entry, whose, place }) = self.all.remove(&id) {
            let entry = next(self, entry, &whose);
            self.keep(id, entry, whose, place);
        }
    }

    /// Ends what nobody wants, without waiting for that.
    fn discard(&mut self, session: Session, guard: &Guard) -> Option<Entry> {
        if matches!(session.try_wait(), Ok(Some(_))) {
            let _ = epoll::delete(&self.epoll, &session);
            return self.let_go(session, guard);
        }
        self.orders.kill(&session);
        Some(Entry::Dying { session })
    }

    /// The first process of something has ended.
    fn ended(&mut self, id: SessionId, guard: &Guard) -> Option<Answer> {
        let session = self.all.get(&id)?.entry.session();
        let exit = match session.try_wait() {
            Ok(None) => return None,
            Ok(Some(exit)) => exit,
            Err(_) => exec::Exit::FAILED,
        };
        let _ = epoll::delete(&self.epoll, session);
        let mut answer = None;
        self.next(id, |all, entry, _| match entry {
            Entry::Running { session, .. } => {
                answer = Some(Answer::Ended(id, exit));
                Some(Entry::Ended { session })
            }
            Entry::Dying { session } | Entry::Abandoned { session } => all.let_go(session, guard),
            other => Some(other),
        });
        answer
    }

    /// Reaps its first process, after which its number may be another's: what was ordered for it comes before.
    fn let_go(&mut self, session: Session, guard: &Guard) -> Option<Entry> {
        self.orders.forget(&session);
        let _ = guard.end(session.pid());
        drop(session);
        None
    }

    pub(super) fn signal(&mut self, id: SessionId, name: &str) {
        let entry = self.all.get(&id).map(|kept| &kept.entry);
        if let (Some(Entry::Running { session, uid }), Some(signal)) = (entry, SessionSignal::from_name(name))
        {
            self.orders.signal(session, Act::Signal(signal, *uid));
        }
    }

    /// Nobody is there any more for whom it runs: it is not ended any more, only reaped. Unless somebody is, as the kernel
    /// says of the client's connection.
    pub(super) fn abandon(&mut self, id: SessionId, connection: Option<&OwnedFd>, guard: &Guard) {
        self.next(id, |all, entry, whose| match entry {
            Entry::Running { session, .. } => {
                if !connection.is_some_and(|connection| whose.peer.is_over(connection)) {
                    return all.discard(session, guard);
                }
                session.release();
                let _ = guard.end(session.pid());
                Some(Entry::Abandoned { session })
            }
            other => Some(other),
        });
    }

    pub(super) fn kill(&mut self, id: SessionId) {
        if let Some(kept) = self.all.get(&id) {
            self.orders.kill(kept.entry.session());
        }
    }

    /// The node has no use for it any more.
    pub(super) fn release(&mut self, id: SessionId, guard: &Guard) {
        self.next(id, |all, entry, _| match entry {
            Entry::Running { session, .. } => all.discard(session, guard),
            Entry::Ended { session } => all.let_go(session, guard),
            other => Some(other),
        });
    }

    /// Ends what would not be started any more, also what was left to itself. Gives how many there were.
    pub(super) fn judge(&mut self, view: &View<'_>) -> usize {
        let (mut outcomes, mut ended) = (HashMap::new(), 0);
        for Kept { entry, whose, .. } in self.all.values() {
            let holds = outcomes
                .entry(Rc::as_ptr(&whose.admission))
                .or_insert_with(|| whose.admission.again(view).is_ok());
            if !*holds && !matches!(entry, Entry::Dying { .. }) {
                self.orders.kill(entry.session());
                ended += 1;
            }
        }
        ended
    }

    /// Does what was ordered, as far as it is due.
    pub(super) fn sweep(&mut self) {
        self.orders.carry_out();
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.orders.due().into_iter().chain(self.helper_deadline()).min()
    }

    /// When the next helper has taken too long.
    fn helper_deadline(&self) -> Option<Instant> {
        if self.launches.taken() == 0 {
            return None;
        }
        let until = |kept: &Kept| match kept.entry {
            Entry::Starting { until, .. } => Some(until),
            _ => None,
        };
        self.all.values().filter_map(until).min()
    }

    /// Gives up those that have taken too long.
    pub(super) fn expire(&mut self, guard: &Guard) -> Vec<Answer> {
        let now = Instant::now();
        let is_late = |entry: &Entry| matches!(entry, Entry::Starting { until, .. } if *until <= now);
        let late: Vec<_> = match self.launches.taken() {
            0 => return Vec::new(),
            _ => self.all.iter().filter(|(_, kept)| is_late(&kept.entry)).map(|(id, _)| *id).collect(),
        };
        let words = format!("the host's name services did not answer within {} s", PATIENCE.as_secs());
        let denied = || Denied::new(exec::FailureKind::TimedOut.name(), words.as_str());
        late.into_iter().filter_map(|id| self.conclude(id, Err(denied()), guard)).collect()
    }

    /// So that what was killed is reaped here, and not some time later by whoever reaps orphans.
    fn wait_for_all(&self) {
        let until = Instant::now() + LAST_MOMENT;
        for entry in self.all.values().map(|kept| &kept.entry).filter(|entry| !is_left(entry)) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(left) = Timespec::try_from(left) else { return };
            let _ = poll(&mut [PollFd::new(entry.session(), PollFlags::IN)], Some(&left));
        }
    }

    /// The end of everything that was not left to itself.
    pub(super) fn kill_all(&mut self) {
        for entry in self.all.values().map(|kept| &kept.entry).filter(|entry| !is_left(entry)) {
            self.orders.kill(entry.session());
        }
        self.sweep();
        self.wait_for_all();
        for kept in self.all.values() {
            // All is done; to let go of them must not begin again with each.
            kept.entry.session().release();
        }
    }
}

/// As many as there can be descriptors for, of which each has one, and two while it starts.
fn most_sessions() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    let files = files.unwrap_or(usize::MAX);
    MAX_SESSIONS.min(files.saturating_sub(RESERVE)).max(LEAST_SHARE)
}

/// Nothing more can be started by anybody, or by this login.
fn busy(full: Full, what: &str) -> Denied {
    let who = match full {
        Full::All => "",
        Full::Login => " of this account",
    };
    Denied::new("node_busy", format!("this node {what} too many sessions{who}; try again later"))
}

/// Whether the session is not to be ended with the launcher.
fn is_left(entry: &Entry) -> bool {
    matches!(entry, Entry::Ended { .. } | Entry::Abandoned { .. })
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, number: u64) -> io::Result<()> {
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
}

/// As the node tells it to users and to the log.
fn failed(error: &SpawnError) -> Denied {
    let code = match error {
        SpawnError::Failed(failure) => failure.kind.name(),
        SpawnError::Request(_) => "bad_request",
        SpawnError::Io { .. } => "node_error",
    };
    Denied::new(code, error.to_string())
}
