//! The node's half: open a terminal or pipes, start the helper, hand it the request.
//!
//! Nothing here is inheritable at any moment, so threads that start other processes meanwhile leak nothing; and no
//! account is looked up, so no directory service can hold up the node.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::cgroup::Prepared;
use crate::helper::MOST_DESCRIPTORS;
use crate::request::{Launch, RequestError, SessionRequest, WindowSize};
use crate::session::Session;
use crate::status::{self, Failure, FailureKind, Started};
use crate::sys::process::start_in;

/// A request that the helper does not take within this time is a helper that hangs.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The request is not one that could be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The node could not do its part.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The helper said no, or nothing.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A helper that has the request and has not answered yet.
#[derive(Debug)]
pub struct Spawned {
    session: Session,
    control: UnixStream,
    io: SessionIo,
}

/// A session that runs.
#[derive(Debug)]
pub struct Running {
    /// Its processes.
    pub session: Session,
    /// Its input and output.
    pub io: SessionIo,
    /// What the helper said about it.
    pub started: Started,
}

/// The node's ends of a session's input and output. All are non-blocking and close on exec.
#[derive(Debug)]
pub enum SessionIo {
    /// Three pipes; the session's standard error stays apart. The SFTP server has a socket besides.
    Pipes {
        /// To write the session's input to; closing it is end of file there.
        stdin: OwnedFd,
        /// To read its output from.
        stdout: OwnedFd,
        /// To read its error output from.
        stderr: OwnedFd,
        /// Of [`Launch::Sftp`] alone: to read [`crate::sftp::record`]s from, until its end. The server waits for whoever
        /// does not read them.
        records: Option<OwnedFd>,
    },
    /// A terminal's master side, for both directions. Reading fails with `EIO` once the session has closed its side.
    Pty {
        /// The master; see [`resize`].
        master: OwnedFd,
    },
    /// No input and no output: questions go to it and replies come back.
    Sockets {
        /// For [`ask`](crate::sockets::ask) and [`hear`](crate::sockets::hear); closing it ends the helper.
        socket: OwnedFd,
    },
}

/// Starts the helper program at `helper` with this request. Takes about a millisecond and does not wait for the account
/// lookup; [`Spawned::started`] does.
pub fn spawn(helper: &Path, request: &SessionRequest) -> Result<Spawned, SpawnError> {
    let (io, theirs) = SessionIo::open(request)?;
    let Starting { session, control, .. } = Starting::begin(helper, request, &theirs, |_| Ok(()))?;
    Ok(Spawned { session, control, io })
}

/// A helper that was started by somebody who has no time to wait for it.
#[derive(Debug)]
pub struct Starting {
    session: Session,
    control: UnixStream,
    heard: Vec<u8>,
}

impl Starting {
    /// Starts the helper with this request and the session's ends of what [`SessionIo::open`] opened. `before` is shown
    /// its process before anything of the session happens, and can prevent it.
    pub fn begin(
        helper: &Path,
        request: &SessionRequest,
        theirs: &[OwnedFd],
        before: impl FnOnce(&Session) -> io::Result<()>,
    ) -> Result<Self, SpawnError> {
        let bytes = request.encode()?;
        let (control, helper_end) = UnixStream::pair().map_err(doing("open the helper's socket"))?;
        let session = start(helper, helper_end, request).map_err(doing("start session-exec"))?;
        before(&session).map_err(doing("have the session watched"))?;
        match hand_over(&control, &bytes, theirs) {
            Ok(()) => Ok(Self { session, control, heard: Vec::new() }),
            Err(error) if is_gone(&error) => Err(Failure::helper_died().into()),
            Err(error) => Err(doing("hand the request to session-exec")(error)),
        }
    }

    /// What has become of it, as far as that is known now: it started, it did not, or nothing is known yet.
    pub fn look(&mut self) -> io::Result<Option<Result<Started, Failure>>> {
        self.control.set_nonblocking(true)?;
        let mut buffer = [0; 1024];
        while self.heard.len() <= status::MAX_BYTES {
            match self.control.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let outcome = status::decode(&self.heard);
        if let Ok(started) = &outcome {
            self.session.is_in(started.group.clone());
        }
        Ok(Some(outcome))
    }

    /// Its processes.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its processes, once it has started.
    pub fn into_session(self) -> Session {
        self.session
    }
}

impl AsFd for Starting {
    /// Readable when there is something to [`Self::look`] at.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// Tells a terminal its new size; the kernel tells the programs on it.
pub fn resize(master: impl AsFd, size: WindowSize) -> io::Result<()> {
    let WindowSize { columns, rows, width_pixels, height_pixels } = size;
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: width_pixels, ws_ypixel: height_pixels };
    Ok(tcsetwinsize(master, size)?)
}

impl Spawned {
    /// Waits until the session runs or has failed to, at most this long. Blocks the calling thread: a name service may
    /// take its time. On failure everything is ended.
    pub fn started(self, timeout: Duration) -> Result<Running, SpawnError> {
        let Self { mut session, control, io } = self;
        let answer = hear(control, timeout).map_err(doing("hear from session-exec"))?;
        let answer = answer.ok_or_else(|| {
            let detail = format!("the host's name services did not answer within {} s", timeout.as_secs());
            Failure::new(FailureKind::TimedOut, detail)
        })?;
        let started = status::decode(&answer)?;
        session.is_in(started.group.clone());
        Ok(Running { session, io, started })
    }
}

/// Everything that the helper writes until it closes its end, or `None` when time is up.
fn hear(mut control: UnixStream, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + timeout;
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    while heard.len() <= status::MAX_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        control.set_read_timeout(Some(left))?;
        match control.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(heard))
}

/// The session's side of its input and output, in the order 0, 1, 2, and behind them what only the helper uses.
type Theirs = Vec<OwnedFd>;

fn open_pipes(launch: &Launch) -> io::Result<(SessionIo, Theirs)> {
    let (their_stdin, our_stdin): (PipeReader, PipeWriter) = io::pipe()?;
    let (our_stdout, their_stdout) = io::pipe()?;
    let (our_stderr, their_stderr) = io::pipe()?;
    let mut theirs: Theirs = vec![their_stdin.into(), their_stdout.into(), their_stderr.into()];
    let mut records = None;
    if matches!(launch, Launch::Sftp) {
        // No pipe: that could be opened once more through /proc, by a client that would like to write its own records.
        let (ours, their_records) = UnixStream::pair()?;
        records = Some(ours.into());
        theirs.push(their_records.into());
    }
    let (stdin, stdout, stderr) = (our_stdin.into(), our_stdout.into(), our_stderr.into());
    let io = SessionIo::Pipes { stdin, stdout, stderr, records };
    io.set_nonblocking()?;
    Ok((io, theirs))
}

fn open_terminal() -> io::Result<(SessionIo, Theirs)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    // From the master, not by name: /dev/pts may be another one in a container.
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let theirs = vec![slave.try_clone()?, slave.try_clone()?, slave];
    let io = SessionIo::Pty { master };
    io.set_nonblocking()?;
    Ok((io, theirs))
}

fn open_sockets() -> io::Result<(SessionIo, Theirs)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let nothing = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    let io = SessionIo::Sockets { socket: ours };
    io.set_nonblocking()?;
    Ok((io, vec![theirs, nothing.try_clone()?, nothing]))
}

impl SessionIo {
    /// Opens what a session of this request has for input and output. The second is the session's side.
    pub fn open(request: &SessionRequest) -> Result<(Self, Vec<OwnedFd>), SpawnError> {
        let (io, theirs) = match (&request.launch, &request.pty) {
            (Launch::Sockets, _) => open_sockets(),
            (_, Some(_)) => open_terminal(),
            (launch, None) => open_pipes(launch),
        }
        .map_err(doing("open the session's terminal or pipes"))?;
        Ok((io, theirs))
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        let all = match self {
            Self::Pipes { stdin, stdout, stderr, records } => {
                [Some(stdin), Some(stdout), Some(stderr), records.as_ref()]
            }
            Self::Pty { master } => [Some(master), None, None, None],
            Self::Sockets { socket } => [Some(socket), None, None, None],
        };
        all.into_iter().flatten().try_for_each(|fd| Ok(ioctl_fionbio(fd, true)?))
    }
}

/// The helper gets its end of the socket as standard input, an empty environment, and no argument. Its standard error is
/// the node's until the session's own takes its place.
fn start(helper: &Path, helper_end: UnixStream, request: &SessionRequest) -> io::Result<Session> {
    if let Some(session) = start_in_group(helper, &helper_end, request) {
        return Ok(session);
    }
    let mut child = Command::new(helper)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(helper_end))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    Session::adopt(Pid::from_child(&child), None).inspect_err(|_| {
        // Out of descriptors, for example. It has no request yet, so it ends at once.
        let _ = child.kill();
        let _ = child.wait();
    })
}

/// The same, in a control group from the first moment; where that is not possible nothing has happened.
fn start_in_group(helper: &Path, helper_end: &UnixStream, request: &SessionRequest) -> Option<Session> {
    if request.may_have_keeper() {
        return None;
    }
    let program = CString::new(helper.as_os_str().as_bytes()).ok()?;
    let group = Prepared::make()?;
    let pid = start_in(group.as_fd(), &program, helper_end.as_fd()).inspect_err(|_| group.remove()).ok()?;
    let session = Session::adopt(pid, Some(group.path().to_owned()));
    session
        .inspect_err(|_| {
            // As in the other case.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            group.remove();
        })
        .ok()
}

fn hand_over(control: &UnixStream, bytes: &[u8], theirs: &[OwnedFd]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_be_bytes();
    let descriptors: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if theirs.len() > MOST_DESCRIPTORS || !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for so many descriptors"));
    }
    control.set_write_timeout(Some(SEND_TIMEOUT))?;
    let parts = [IoSlice::new(&length), IoSlice::new(bytes)];
    let sent = rustix::io::retry_on_intr(|| sendmsg(control, &parts, &mut ancillary, SendFlags::NOSIGNAL))?;
    let rest = bytes.get(sent.saturating_sub(length.len())..).unwrap_or_default();
    (&*control).write_all(rest)
}

/// Whether a socket says that the helper died, perhaps with a request unread.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> SpawnError {
    move |source| SpawnError::Io { doing, source }
}
