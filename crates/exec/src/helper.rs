//! The program `session-exec`: a short life as root, then the user's.
//!
//! One thread, no network, no configuration. The order of [`run`] is the security argument: nothing of the node
//! survives step 1, nothing that belongs to the user runs before step 6, nothing in this process is root after it. Until
//! then the client's choices (command, environment, terminal name) are data.

mod account;
mod defaults;
mod greeting;
mod isolate;
mod keeper;
mod launch;
mod login;
mod pam;
mod receive;
mod stdio;
mod switch;
mod user_file;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::process::getpid;

use crate::cgroup;
use crate::request::{Launch, RequestError, SessionRequest};
use crate::status::{Failure, FailureKind, Started};
use crate::{sftp, sockets};
use greeting::Greeting;
use keeper::Closing;
pub(crate) use receive::MOST_DESCRIPTORS;

use receive::Control;
use switch::Keyring;

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
    let (mut control, request) = match receive::receive() {
        Ok(received) => received,
        Err(error) => {
            eprintln!(
                "session-exec: no session request on standard input ({error}); the node service starts this program"
            );
            return CANNOT_LAUNCH;
        }
    };
    match start(&mut control, request) {
        Ok(Remains::Sftp) => {
            // Present, since this was what the request asks for; an end without it would be one that nobody sees.
            control.into_records().map_or(CANNOT_LAUNCH, sftp::serve_stdio)
        }
        Ok(Remains::Sockets(socket, environment)) => {
            drop(control);
            sockets::server::serve(socket, environment);
            0
        }
        Err(failure) => {
            // The user hears it where the node does not any more: it was told that the session runs, or is gone.
            if control.say(&failure.encode()).is_err() {
                let _ = write!(std::io::stderr(), "Failed to launch: {failure}.\r\n");
            }
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
fn start(control: &mut Control, request: Result<SessionRequest, RequestError>) -> Result<Remains, Failure> {
    let request = request.map_err(|reason| Failure::new(FailureKind::BadRequest, reason.to_string()))?;
    // 3. Who. Name services run here, in a process of its own, and may block.
    let mut user = account::look_up(&request)?;
    if matches!(request.launch, Launch::Sockets | Launch::Sftp) {
        account::check_shell(&user)?;
    }
    // 4. What only root can do for the user.
    request.limits.apply();
    let terminal = stdio::hand_over(&request, &user)?;
    // 5. What the host wants for its sessions, somebody to close it at the end, and a group to find its processes by: it has
    // one since its birth, unless there may be somebody who must not end with it.
    let pam = request.pam.as_ref();
    let opened = pam.map(|pam| pam::open(pam, &request, &mut user, terminal.as_ref())).transpose()?;
    let (transaction, variables, words) = match opened {
        Some(pam::Opened { transaction, variables, words }) => (Some(transaction), variables, Some(words)),
        None => (None, Vec::new(), None),
    };
    let login = login::record(&user, terminal.as_ref(), request.peer);
    let last = login.as_ref().and_then(|login| login.last.clone());
    keeper::start(Closing { login, pam: transaction }, control)?;
    let group = cgroup::enter();
    // 6. The user, for good.
    let keyring = if request.pam.is_some() { Keyring::Modules } else { Keyring::Ours };
    switch::become_user(&user, keyring)?;
    // 7. As the user: home, environment, program.
    if request.launch != Launch::Sockets {
        launch::enter_home(&user.account);
    }
    let environment = launch::environment(&request, &user.account, terminal.as_ref(), variables);
    let started = Started { pid: getpid().as_raw_pid().unsigned_abs(), uid: user.account.uid, group };
    control
        .say(&started.encode())
        .map_err(|error| Failure::new(FailureKind::HelperDied, error.to_string()))?;
    match &request.launch {
        Launch::Sftp => Ok(Remains::Sftp),
        Launch::Sockets => Ok(Remains::Sockets(stdio::take_socket()?, environment)),
        Launch::Command(command) => Err(launch::execute(&user.account, Some(command), environment)),
        Launch::LoginShell => {
            if terminal.is_some() {
                launch::check_shell(&user.account)?;
                // The terminal holds only so much that nobody reads, and nobody does before the session runs.
                control.finish();
                Greeting { words, last }.say(&user.account.home);
            }
            Err(launch::execute(&user.account, None, environment))
        }
    }
}
