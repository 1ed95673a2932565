//! The program `session-exec`: a short life as root, then the user's.
//!
//! One thread, no network, no configuration. The order of [`run`] is the security argument: nothing of the node
//! survives step 1, nothing that belongs to the user runs before step 5, nothing is root after it. Until then the
//! client's choices (command, environment, terminal name) are data.

mod account;
mod defaults;
mod isolate;
mod launch;
mod receive;
mod stdio;
mod switch;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::process::getpid;

use crate::request::{Launch, RequestError, SessionRequest};
use crate::status::{Failure, FailureKind, Started};
use crate::{sftp, sockets};
use receive::Control;

/// The exit code of a helper that could not start its session.
const CANNOT_LAUNCH: u8 = 255;

/// Starts the session that arrives on standard input. Returns only with an exit code: when it failed, or when the
/// built-in SFTP server has ended.
pub fn run() -> u8 {
    // 1. Nothing of the node but standard input, which is the control socket.
    if let Err(error) = isolate::isolate() {
        eprintln!("session-exec: cannot leave the node's process state behind: {error}");
        return CANNOT_LAUNCH;
    }
    // 2. The request; standard input, output and error become the session's.
    let (control, request) = match receive::receive() {
        Ok(received) => received,
        Err(error) => {
            eprintln!(
                "session-exec: no session request on standard input ({error}); the node service starts this program"
            );
            return CANNOT_LAUNCH;
        }
    };
    match start(&control, request) {
        Ok(Remains::Sftp) => {
            drop(control);
            sftp::serve_stdio()
        }
        Ok(Remains::Sockets(socket, environment)) => {
            drop(control);
            sockets::server::serve(socket, environment);
            0
        }
        Err(failure) => {
            // Where the node is gone there is nobody left to tell.
            let _ = control.say(&failure.encode());
            CANNOT_LAUNCH
        }
    }
}

/// What this process goes on as; a shell replaces it instead.
enum Remains {
    Sftp,
    /// With the socket of its questions, and the user's environment.
    Sockets(OwnedFd, BTreeMap<String, String>),
}

/// Becomes the session.
fn start(control: &Control, request: Result<SessionRequest, RequestError>) -> Result<Remains, Failure> {
    let request = request.map_err(|reason| Failure::new(FailureKind::BadRequest, reason.to_string()))?;
    // 3. Who. Name services run here, in a process of its own, and may block.
    let user = account::look_up(&request)?;
    if request.launch == Launch::Sockets {
        account::check_shell(&user)?;
    }
    // 4. What only root can do for the user.
    request.limits.apply();
    let terminal = stdio::hand_over(&request, &user)?;
    // 5. The user, for good.
    switch::become_user(&user)?;
    // 6. As the user: home, environment, program.
    if request.launch != Launch::Sockets {
        launch::enter_home(&user.account);
    }
    let environment = launch::environment(&request, &user.account, terminal);
    let started = Started { pid: getpid().as_raw_pid().unsigned_abs(), uid: user.account.uid };
    control
        .say(&started.encode())
        .map_err(|error| Failure::new(FailureKind::HelperDied, error.to_string()))?;
    match &request.launch {
        Launch::Sftp => Ok(Remains::Sftp),
        Launch::Sockets => Ok(Remains::Sockets(stdio::take_socket()?, environment)),
        Launch::LoginShell => Err(launch::execute(&user.account, None, environment)),
        Launch::Command(command) => Err(launch::execute(&user.account, Some(command), environment)),
    }
}
