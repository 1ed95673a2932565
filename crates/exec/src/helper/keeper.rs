//! Step 5: somebody who closes at the end what was opened for the session.
//!
//! Not between the node and the session but beside it: a process that is nobody's child, in a kernel session and a
//! process group of its own, which waits for the end of the session's first process. So the node sees that process's own
//! exit, signal and core image; signals that are meant for the session cannot reach the keeper; and it closes what is
//! open even when the session is killed, the client vanishes or the node dies. Sessions with nothing to close have none.

use std::fs::File;
use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::login::Login;
use super::receive::Control;
use crate::status::{Failure, FailureKind};
use crate::sys::pam::Transaction;
use crate::sys::process::{self, Side};

/// What is open for a session.
#[derive(Default)]
pub(super) struct Closing {
    pub(super) login: Option<Login>,
    pub(super) pam: Option<Transaction>,
}

/// Starts the keeper of what is to be closed when this process, whatever it becomes, has ended. Where it cannot be
/// started everything is closed at once.
pub(super) fn start(closing: Closing, control: &mut Control) -> Result<(), Failure> {
    if closing.login.is_none() && closing.pam.is_none() {
        return Ok(());
    }
    let detached = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|session| Ok((process::detach()?, session)));
    match detached {
        Ok((Side::Caller, _)) => Ok(()),
        Ok((Side::Detached, session)) => {
            // What is left of the node and of the session must not stay open because of the keeper.
            if control.let_go().and_then(|()| let_go_of_streams()).is_ok() {
                process::ignore_signals();
                let _ = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&session, PollFlags::IN)], None));
                // What modules start is to be as they expect.
                process::reset_signals();
            }
            closing.close();
            std::process::exit(0)
        }
        Err(error) => {
            closing.close();
            Err(Failure::new(FailureKind::Keeper, format!("cannot start the keeper of the session: {error}")))
        }
    }
}

impl Closing {
    fn close(self) {
        if let Some(login) = self.login {
            login.end();
        }
        if let Some(mut transaction) = self.pam {
            transaction.close_session();
            transaction.end();
        }
    }
}

fn let_go_of_streams() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    Ok(dup2_stderr(&nothing)?)
}
