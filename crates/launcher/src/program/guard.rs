//! What is left when the launcher was killed: a process that knows which sessions there are, and ends them.
//!
//! It is told of each before anything of it runs, and does nothing else for as long as the launcher lives.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use exec::session::{Act, sweep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use rustix::stdio::stdin;

use super::{Fatal, GUARD, doing};

const BEGIN: u8 = 1;
const END: u8 = 0;
/// What is done, and the number of a process.
const LENGTH: usize = 5;

/// The launcher's hold on its guard.
pub(super) struct Guard {
    socket: UnixStream,
    process: Child,
}

impl Guard {
    pub(super) fn start() -> Result<Self, Fatal> {
        let program = std::env::current_exe().map_err(doing("find its own program"))?;
        let (socket, theirs) = UnixStream::pair().map_err(doing("open its guard's socket"))?;
        let process = Command::new(program)
            .arg(GUARD)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(doing("start its guard"))?;
        Ok(Self { socket, process })
    }

    /// Before anything of the session runs.
    pub(super) fn begin(&self, session: u32) -> io::Result<()> {
        self.say(BEGIN, session)
    }

    /// What is left of the session is not to be ended any more.
    pub(super) fn end(&self, session: u32) -> io::Result<()> {
        self.say(END, session)
    }

    fn say(&self, what: u8, session: u32) -> io::Result<()> {
        let [a, b, c, d] = session.to_be_bytes();
        let message = [what, a, b, c, d];
        // So little goes out whole or not at all, and the guard does nothing but read.
        let sent = rustix::io::retry_on_intr(|| send(&self.socket, &message, SendFlags::NOSIGNAL))?;
        if sent == LENGTH { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

impl AsFd for Guard {
    /// Readable when the guard is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

/// The guard's own life.
pub(super) fn run() -> u8 {
    let opened = exec::service::stand_alone().and_then(|()| Ok(fcntl_dupfd_cloexec(stdin(), 3)?));
    let Ok(socket) = opened else { return 1 };
    let (mut socket, mut sessions) = (UnixStream::from(socket), HashMap::new());
    let mut message = [0; LENGTH];
    while socket.read_exact(&mut message).is_ok() {
        let [what, a, b, c, d] = message;
        let session = u32::from_be_bytes([a, b, c, d]);
        match what {
            BEGIN => drop(sessions.insert(session, hold(session))),
            _ => drop(sessions.remove(&session)),
        }
    }
    let left: Vec<_> = sessions
        .iter()
        .filter(|(session, held)| is_still(**session, held.as_ref()))
        .map(|(session, _)| (*session, Act::Kill))
        .collect();
    for held in sessions.values().flatten() {
        // One that has not made its session yet is in nobody's list.
        let _ = rustix::process::pidfd_send_signal(held, rustix::process::Signal::KILL);
    }
    sweep(&left);
    // And what is only in a control group of the launcher's.
    exec::cgroup::clean_up();
    0
}

/// A hold on the first process, by which another one of the same number is told apart.
fn hold(session: u32) -> Option<OwnedFd> {
    pidfd_open(pid(session)?, PidfdFlags::empty()).ok()
}

/// Whether the number is still the session's: its first process is there, or nobody has the number. While others of the
/// session live, nobody is given it.
fn is_still(session: u32, held: Option<&OwnedFd>) -> bool {
    let Some(pid) = pid(session) else { return false };
    let is_free = test_kill_process(pid) == Err(Errno::SRCH);
    let Some(held) = held else { return is_free };
    let mut asked = [PollFd::new(held, PollFlags::IN)];
    let is_dead = poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    !is_dead || is_free || is_unreaped(session)
}

/// Whether a process of this number has ended and is still in the table.
fn is_unreaped(session: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{session}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

fn pid(session: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(session).ok()?)
}
