//! Starting the launcher. What runs with it is the node's affair.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::post::{Parcel, ReceiveError, receive};
use crate::protocol::{Answer, Request, Start};

/// How long it may take to start: it makes a key at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no launcher.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot be run.
    #[error("session-launcher at {} cannot be started: {source}; install it beside postern", .path.display())]
    Spawn {
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It ended, or said nothing.
    #[error("session-launcher did not start: {0}; its own words stand before this")]
    Silent(String),
}

/// A launcher that is ready.
#[derive(Debug)]
pub struct Launcher {
    /// For requests and answers.
    pub socket: OwnedFd,
    /// The host key: SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// Its process, for whoever wants to know how it ended. It ends with the socket.
    pub process: Child,
}

impl Launcher {
    /// Starts the program at `path`, with an empty environment.
    pub fn start(path: &Path, start: Start) -> Result<Self, StartError> {
        let failed = |source| StartError::Spawn { path: path.to_owned(), source };
        let silent = |reason: &dyn std::fmt::Display| StartError::Silent(reason.to_string());
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (socket, theirs) = pair.map_err(|error| failed(error.into()))?;
        let process = Command::new(path)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let request = Request::Start(Box::new(start));
        let sent = Parcel::new(request.encode()).and_then(|parcel| parcel.send(&socket, &[]));
        sent.map_err(|error| silent(&error))?;
        let mut launcher = Self { socket, public_key: Vec::new(), process };
        match launcher.hear(PATIENCE) {
            Ok(Answer::Ready { public_key }) => {
                launcher.public_key = public_key;
                Ok(launcher)
            }
            Ok(_) => Err(silent(&"it said something else")),
            Err(error) => Err(silent(&error)),
        }
    }

    /// Waits for an answer, at most this long.
    pub fn hear(&self, patience: Duration) -> io::Result<Answer> {
        let until = Instant::now() + patience;
        loop {
            match receive(&self.socket, &mut Vec::new()) {
                Ok(message) => return Answer::decode(&message.bytes).map_err(io::Error::other),
                Err(ReceiveError::Nothing) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut wanted = [PollFd::new(&self.socket, PollFlags::IN)];
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let _ = poll(&mut wanted, Some(&left));
        }
    }
}
