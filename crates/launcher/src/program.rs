//! The program `session-launcher`.
//!
//! One thread, one socket, and a loop that waits for nobody: what takes time (name services, sessions) is done by
//! `session-exec`, which it starts and hears of. When the socket closes it kills every session and ends; when it is killed
//! itself, its [`guard`] does that.

mod desk;
mod directory;
mod guard;
mod host_key;
mod keeper;
mod modules;
mod orders;
mod peer;
mod places;
mod requests;
mod service;
mod sessions;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, stdin};

use crate::post::{ReceiveError, receive};
use crate::protocol::{Request, Start};

/// Started again by this name, to watch over the first.
const GUARD: &str = "guard";

/// Why it ends.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}; postern starts this program")]
    Start(&'static str),
    #[error("{}: {reason}", .path.display())]
    File { path: std::path::PathBuf, reason: String },
    #[error("the node sent something that is {0}; every session is ended")]
    Malformed(#[from] crate::protocol::Malformed),
    #[error("the node sent what is {0}; every session is ended")]
    Received(#[from] ReceiveError),
    #[error("ssh_service.pam: {0}")]
    Pam(String),
    #[error("its guard is gone; every session is ended")]
    Guard,
    #[error("cannot {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

/// Serves the socket that is its standard input. Gives an exit code.
pub fn run() -> u8 {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == GUARD) {
        return guard::run();
    }
    let socket = own_socket();
    // Whoever sees it close finds the last words in the log already.
    let held = socket.as_ref().ok().and_then(|socket| socket.try_clone().ok());
    let served = socket.and_then(|socket| {
        let start = first(&socket)?;
        service::Service::new(socket, start)?.serve()
    });
    let code = match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("session-launcher: {error}");
            1
        }
    };
    drop(held);
    code
}

/// A process of its own, with one descriptor.
fn own_socket() -> Result<OwnedFd, Fatal> {
    exec::service::stand_alone().map_err(doing("become a process of its own"))?;
    let socket = fcntl_dupfd_cloexec(stdin(), 3).map_err(|_| Fatal::Start("standard input is no socket"))?;
    let nothing = File::open("/dev/null").map_err(doing("open /dev/null"))?;
    dup2_stdin(nothing).map_err(|error| doing("leave standard input")(error.into()))?;
    Ok(socket)
}

/// What it is to be; waits for that.
fn first(socket: &OwnedFd) -> Result<Start, Fatal> {
    loop {
        match receive(socket, &mut Vec::new()) {
            Err(ReceiveError::Nothing) => {
                let mut wanted = [PollFd::new(socket, PollFlags::IN)];
                let _ = poll(&mut wanted, None);
            }
            Err(ReceiveError::Io(_)) => return Err(Fatal::Start("standard input is no socket")),
            Err(error) => return Err(error.into()),
            Ok(message) => match Request::decode(&message.bytes)? {
                Request::Start(start) => return Ok(*start),
                _ => return Err(Fatal::Start("the first message says how to start")),
            },
        }
    }
}

fn doing(doing: &'static str) -> impl FnOnce(io::Error) -> Fatal {
    move |source| Fatal::Io { doing, source }
}
