//! The processes of sessions, as the process table shows them.
//!
//! A look at the whole table costs milliseconds on a busy host, so what is wanted of many sessions is done in one.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::exit::SessionSignal;

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

/// Does something to the processes of several sessions, each named by the number of its first process. That number must not
/// have been given to another process: the first one is not reaped, or others of its session live.
pub fn sweep(orders: &[(u32, Act)]) {
    let mut rounds = KILL_ROUNDS;
    let mut orders: Vec<(Pid, Act)> = orders
        .iter()
        .filter_map(|(pid, act)| Some((Pid::from_raw(i32::try_from(*pid).ok()?)?, *act)))
        .collect();
    while !orders.is_empty() && rounds > 0 {
        let killed = round(&orders);
        // Signals are sent once; what is to end may have forked meanwhile.
        orders.retain(|(pid, act)| *act == Act::Kill && killed.contains(pid));
        rounds -= 1;
    }
}

/// One look at the table. Gives the sessions in which something was killed.
fn round(orders: &[(Pid, Act)]) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut killed = Vec::new();
    for pid in numbers.filter_map(Pid::from_raw) {
        let Some(member) = Member::of(pid) else { continue };
        for (session, act) in orders.iter().filter(|(session, _)| *session == member.session) {
            if meet(pid, *session, *act) && *act == Act::Kill {
                killed.push(*session);
            }
        }
    }
    killed
}

/// Does it to one process, if that is meant. The second look makes sure that the descriptor is of the process that the first
/// look was at.
fn meet(pid: Pid, session: Pid, act: Act) -> bool {
    let is_meant = || {
        let Some(member) = Member::of(pid) else { return false };
        let of_user = |uid| member.group == session && member.real_uid() == Some(uid);
        member.session == session && !matches!(act, Act::Signal(_, uid) if !of_user(uid))
    };
    if !is_meant() {
        return false;
    }
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let send = |signal| pidfd_send_signal(&pidfd, signal).is_ok();
    is_meant()
        && match act {
            Act::Signal(signal, _) => send(signal.raw()),
            Act::HangUp => send(Signal::HUP) && send(Signal::CONT),
            Act::Kill => send(Signal::KILL),
        }
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

    /// From `/proc/<pid>/status`, where the name of the process is escaped, so that it cannot pass for this line.
    pub(super) fn real_uid(&self) -> Option<u32> {
        let status = fs::read(format!("/proc/{}/status", self.pid.as_raw_pid())).ok()?;
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
    }
}
