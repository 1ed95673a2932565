//! The processes of sessions: those of its control group, or else as the process table shows them.
//!
//! A look at the whole table costs milliseconds on a busy host, so what is wanted of many sessions is done in one.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup;
use crate::exit::SessionSignal;
use crate::sys::process::session_and_group;

/// How often the process table is searched again for processes that were forked while it was searched before.
const KILL_ROUNDS: usize = 16;

/// What is to be done to the processes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A signal on behalf of the session's user: to the first process group, as far as its real uid is this one.
    Signal(SessionSignal, u32),
    /// Their terminal is gone.
    HangUp,
    /// They end.
    Kill,
}

/// What is to be done, and to which session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    session: Pid,
    group: Option<PathBuf>,
    act: Act,
}

impl Order {
    /// For the session of this first process, whose number must not have been given to another process: it is not reaped, or
    /// others of its session live; with the control group that all of its processes are in, where there is one. Nothing for
    /// what is no number of a process.
    pub fn new(session: u32, group: Option<&Path>, act: Act) -> Option<Self> {
        let session = Pid::from_raw(i32::try_from(session).ok()?)?;
        Some(Self { session, group: group.map(Path::to_owned), act })
    }

    /// Carries it out in a control group.
    fn within(&self, group: &Path) {
        if self.act == Act::Kill {
            return cgroup::kill(group);
        }
        for pid in cgroup::members(group) {
            meet(pid, self.session, self.act);
        }
    }
}

/// Does something to the processes of several sessions.
pub fn sweep(orders: &[Order]) {
    let mut others = Vec::new();
    for order in orders {
        match &order.group {
            Some(group) => order.within(group),
            None => others.push(order),
        }
    }
    let mut rounds = KILL_ROUNDS;
    while !others.is_empty() && rounds > 0 {
        let killed = round(&others);
        // Signals are sent once; what is to end may have forked meanwhile.
        others.retain(|order| order.act == Act::Kill && killed.contains(&order.session));
        rounds -= 1;
    }
}

/// One look at the table. Gives the sessions in which something was killed.
fn round(orders: &[&Order]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut killed = Vec::new();
    for pid in numbers.filter_map(Pid::from_raw) {
        let Some((own, _)) = session_and_group(pid) else { continue };
        for Order { session, act, .. } in orders.iter().filter(|order| order.session == own) {
            if meet(pid, *session, *act) && *act == Act::Kill {
                killed.push(*session);
            }
        }
    }
    killed
}

/// Does it to one process, if that is meant. Looked at after it is held: if its number is another's by then, it is dead, and
/// nothing reaches it.
fn meet(pid: Pid, session: Pid, act: Act) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let send = |signal| pidfd_send_signal(&pidfd, signal).is_ok();
    match act {
        Act::Signal(signal, uid) => {
            let is_first_group = session_and_group(pid) == Some((session, session));
            is_first_group && real_uid(pid) == Some(uid) && send(signal.raw())
        }
        Act::HangUp => is_in(pid, session) && send(Signal::HUP) && send(Signal::CONT),
        Act::Kill => is_in(pid, session) && send(Signal::KILL),
    }
}

/// Whether a process lives and is of this session.
fn is_in(pid: Pid, session: Pid) -> bool {
    Member::of(pid).is_some_and(|member| member.session == session)
}

/// A living process, as the process table shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) pid: Pid,
    pub(super) group: Pid,
    pub(super) session: Pid,
}

impl Member {
    /// From `/proc/<pid>/stat` (`proc(5)`, fields 5 and 6).
    pub(super) fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        // The name in parentheses may itself contain parentheses and spaces; the last one ends it.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let mut fields = std::str::from_utf8(stat.get(after_name..)?).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let group = Pid::from_raw(fields.nth(1)?.parse().ok()?)?;
        let session = Pid::from_raw(fields.next()?.parse().ok()?)?;
        if matches!(state, "Z" | "X") { None } else { Some(Self { pid, group, session }) }
    }
}

/// From `/proc/<pid>/status`, where the name of the process is escaped, so that it cannot pass for this line.
pub(super) fn real_uid(pid: Pid) -> Option<u32> {
    let status = fs::read(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}
