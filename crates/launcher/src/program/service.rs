//! The loop: takes requests, hears of sessions, answers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exec::Limits;
use rustix::event::{Timespec, epoll};

use super::desk::Desk;
use super::guard::Guard;
use super::host_key::HostKey;
use super::keeper::Keeper;
use super::modules::Modules;
use super::requests::view;
use super::sessions::Sessions;
use super::{Fatal, directory, doing};
use crate::post::{Parcel, ReceiveError, receive};
use crate::protocol::{Answer, Start};

/// Requests that are taken before sessions are looked at again.
const BATCH: usize = 64;
/// Answers that may wait for a node that does not read.
const MAX_WAITING: usize = 4096;
/// How soon such a node is tried again.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a node has to end what a policy does not allow any more, and to say so, before it is ended here.
const GRACE: Duration = Duration::from_millis(300);
/// In what epoll gives back; sessions have larger numbers.
const SOCKET: u64 = 0;
const GUARD: u64 = 1;

pub(super) struct Service {
    socket: OwnedFd,
    pub(super) start: Start,
    pub(super) limits: Limits,
    /// What the host's modules are told, where they are asked.
    pub(super) modules: Option<Modules>,
    pub(super) key: HostKey,
    pub(super) keeper: Keeper,
    pub(super) desk: Desk,
    pub(super) sessions: Sessions,
    pub(super) guard: Guard,
    /// When what runs is judged again.
    judgement: Option<Instant>,
    outbox: VecDeque<Parcel>,
    buffer: Vec<u8>,
}

impl Service {
    pub(super) fn new(socket: OwnedFd, start: Start) -> Result<Self, Fatal> {
        let limits = Limits::from_entries(start.session_limits.clone());
        let limits = limits.ok_or(Fatal::Start("the limits for sessions are none"))?;
        let modules = start.pam.as_ref().map(Modules::new).transpose()?;
        let directory = directory::prepare(&start.directory)?;
        let key = HostKey::open(&directory)?;
        let keeper = Keeper::open(&directory, &start)?;
        exec::cgroup::clean_up();
        let guard = Guard::start()?;
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC).and_then(|watched| {
            for (fd, number) in [(socket.as_fd(), SOCKET), (guard.as_fd(), GUARD)] {
                epoll::add(&watched, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?;
            }
            Ok(watched)
        });
        let watched = watched.map_err(|error| doing("watch its descriptors")(error.into()))?;
        let public_key = key.spki().to_vec();
        let mut service = Self {
            socket,
            start,
            limits,
            modules,
            key,
            keeper,
            desk: Desk::default(),
            sessions: Sessions::new(watched, GUARD),
            guard,
            judgement: None,
            outbox: VecDeque::new(),
            buffer: Vec::new(),
        };
        service.answer(&Answer::Ready { public_key })?;
        Ok(service)
    }

    /// Serves until the node is gone; then nothing of any session stays.
    pub(super) fn serve(mut self) -> Result<(), Fatal> {
        let outcome = self.run();
        self.sessions.kill_all();
        match outcome {
            Err(Fatal::Received(ReceiveError::Gone)) => Ok(()),
            other => other,
        }
    }

    fn run(&mut self) -> Result<(), Fatal> {
        let mut events = Vec::with_capacity(256);
        loop {
            self.flush()?;
            events.clear();
            let timeout = self.timeout();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(self.sessions.epoll(), room, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(doing("wait")(error.into())),
            }
            for event in &events {
                match event.data.u64() {
                    SOCKET => self.take_in()?,
                    GUARD => return Err(Fatal::Guard),
                    number => {
                        if let Some(answer) = self.sessions.happened(number, &self.guard) {
                            self.answer(&answer)?;
                        }
                    }
                }
            }
            for answer in self.sessions.expire(&self.guard) {
                self.answer(&answer)?;
            }
            self.judge_again();
            self.keeper.write_again();
            self.sessions.sweep();
        }
    }

    /// There is another policy: what runs is judged by it, soon.
    pub(super) fn policy_changed(&mut self) {
        self.judgement.get_or_insert_with(|| Instant::now() + GRACE);
    }

    /// The node ends by itself what is locked. One that was taken over does not, and what was left to itself is not its own.
    fn judge_again(&mut self) {
        if self.judgement.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.judgement = None;
        // It is as new as can be: it has just come.
        let Ok(view) = view(&self.keeper, &self.start, true) else { return };
        let ended = self.sessions.judge(&view);
        if ended > 0 {
            eprintln!("session-launcher: {ended} sessions are ended that the new policy does not allow");
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let again = (!self.outbox.is_empty()).then_some(AGAIN);
        let moments = [self.sessions.deadline(), self.judgement, self.keeper.deadline()];
        let now = Instant::now();
        let waits = moments.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        again.into_iter().chain(waits).min().and_then(|wait| Timespec::try_from(wait).ok())
    }

    fn take_in(&mut self) -> Result<(), Fatal> {
        for _ in 0..BATCH {
            if !self.outbox.is_empty() {
                // Whoever does not read answers is not asked for more questions.
                std::thread::sleep(AGAIN);
                return Ok(());
            }
            match receive(&self.socket, &mut self.buffer) {
                Err(ReceiveError::Nothing) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(message) => {
                    if let Some(answer) = self.take(message)? {
                        self.answer(&answer)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer) -> Result<(), Fatal> {
        if self.outbox.len() >= MAX_WAITING {
            return Err(Fatal::Start("the node does not read"));
        }
        self.outbox.push_back(Parcel::new(answer.encode()).map_err(doing("pack an answer"))?);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        while let Some(parcel) = self.outbox.front() {
            match parcel.send(&self.socket, &[]) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(ReceiveError::Gone.into()),
            }
        }
        Ok(())
    }
}
