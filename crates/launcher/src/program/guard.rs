//! What is left when the launcher was killed: a process that knows which sessions there are, and ends them.
//!
//! It is told of each before anything of it runs, and does nothing else for as long as the launcher lives.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use exec::Session;
use exec::session::{Act, Order, sweep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use rustix::stdio::stdin;

use super::{Fatal, GUARD, doing};

const BEGIN: u8 = 1;
const END: u8 = 0;
/// What is done, the number of a process, and how long the path is that follows.
const HEAD: usize = 7;
/// Longer paths than the kernel takes are nobody's.
const MAX_PATH: usize = 4096;

/// The launcher's hold on its guard.
pub(super) struct Guard {
    socket: UnixStream,
    process: Child,
}

impl Guard {
    pub(super) fn start() -> Result<Self, Fatal> {
        let program = std::env::current_exe().map_err(doing("find its own program"))?;
        // Without it there is no control group that could be named by it either.
        let start = exec::cgroup::own_start().unwrap_or_default();
        let (socket, theirs) = UnixStream::pair().map_err(doing("open its guard's socket"))?;
        let process = Command::new(program)
            .args([GUARD, &std::process::id().to_string(), &start.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(doing("start its guard"))?;
        Ok(Self { socket, process })
    }

    /// Before anything of the session runs, and once more where its control group becomes known later.
    pub(super) fn begin(&self, session: &Session) -> io::Result<()> {
        self.say(BEGIN, session.pid(), session.group())
    }

    /// What is left of the session is not to be ended any more.
    pub(super) fn end(&self, session: u32) -> io::Result<()> {
        self.say(END, session, None)
    }

    fn say(&self, what: u8, session: u32, group: Option<&Path>) -> io::Result<()> {
        let path = group.map_or(&[][..], |group| group.as_os_str().as_bytes());
        let length = u16::try_from(path.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let message = [&[what][..], &session.to_be_bytes(), &length.to_be_bytes(), path].concat();
        // So little goes out whole or not at all, and the guard does nothing but read.
        let sent = rustix::io::retry_on_intr(|| send(&self.socket, &message, SendFlags::NOSIGNAL))?;
        if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
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

/// A session that is to be ended.
struct Watched {
    /// A hold on its first process.
    first: Option<OwnedFd>,
    /// The control group that all of its processes are in.
    group: Option<PathBuf>,
}

/// The guard's own life.
pub(super) fn run() -> u8 {
    let opened = exec::service::stand_alone().and_then(|()| Ok(fcntl_dupfd_cloexec(stdin(), 3)?));
    let (Ok(socket), Some(owner)) = (opened, Launcher::of_this_guard()) else { return 1 };
    let (mut socket, mut sessions) = (UnixStream::from(socket), HashMap::new());
    while let Ok((what, session, group)) = hear(&mut socket) {
        match what {
            BEGIN => {
                let watched =
                    sessions.entry(session).or_insert_with(|| Watched { first: hold(session), group: None });
                watched.group = group.or(watched.group.take());
            }
            _ => drop(sessions.remove(&session)),
        }
    }
    end_all(&sessions, owner);
    0
}

fn hear(socket: &mut UnixStream) -> io::Result<(u8, u32, Option<PathBuf>)> {
    let mut head = [0; HEAD];
    socket.read_exact(&mut head)?;
    let [what, a, b, c, d, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_PATH {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut path = vec![0; length];
    socket.read_exact(&mut path)?;
    let group = Some(PathBuf::from(OsString::from_vec(path))).filter(|path| exec::cgroup::is_group(path));
    Ok((what, u32::from_be_bytes([a, b, c, d]), group))
}

/// Control groups come first: from there nothing runs away, and a group whose first process is gone would be taken for one
/// that a finished session has left.
fn end_all(sessions: &HashMap<u32, Watched>, Launcher { pid, start }: Launcher) {
    for (session, watched) in sessions {
        let group = watched.group.clone().or_else(|| exec::cgroup::left_by(pid, start, *session));
        let _ = group.map(|group| exec::cgroup::kill(&group));
    }
    let left: Vec<_> = sessions
        .iter()
        .filter(|(session, watched)| is_still(**session, watched.first.as_ref()))
        .filter_map(|(session, _)| Order::new(*session, None, Act::Kill))
        .collect();
    for first in sessions.values().filter_map(|watched| watched.first.as_ref()) {
        // One that has not made its session yet is in nobody's list.
        let _ = rustix::process::pidfd_send_signal(first, rustix::process::Signal::KILL);
    }
    sweep(&left);
    // And what nobody has heard of.
    exec::cgroup::clean_up();
}

/// Whose guard this is: names of control groups have it in them.
#[derive(Clone, Copy)]
struct Launcher {
    pid: u32,
    start: u64,
}

impl Launcher {
    /// As the arguments say.
    fn of_this_guard() -> Option<Self> {
        let mut numbers = std::env::args().skip(2);
        Some(Self { pid: numbers.next()?.parse().ok()?, start: numbers.next()?.parse().ok()? })
    }
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
