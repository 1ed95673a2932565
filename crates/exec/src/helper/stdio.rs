//! Step 4: give the user the terminal or the pipes. By descriptor, never by path: a path could be exchanged.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat, fstatfs, major};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{geteuid, ioctl_tiocsctty};
use rustix::stdio::{dup2_stdin, stderr, stdin, stdout};
use rustix::termios::{Winsize, isatty, tcsetwinsize, ttyname};

use super::account::User;
use crate::request::{Pty, SessionRequest};
use crate::status::{Failure, FailureKind};
use crate::sys::accounts;

/// The group that `write` and `wall` run as, where a host has it.
const TTY_GROUP: &str = "tty";
/// `PIPEFS_MAGIC` of `linux/magic.h`.
const PIPE_FILE_SYSTEM: u64 = 0x5049_5045;
/// `DEVPTS_SUPER_MAGIC` of the same.
const TERMINAL_FILE_SYSTEM: u64 = 0x1cd1;
/// The device numbers of terminals of that file system (`UNIX98_PTY_SLAVE_MAJOR` of `linux/major.h`). `/dev/tty` and
/// `/dev/ptmx`, which everybody shares, have others.
const TERMINALS: RangeInclusive<u32> = 136..=143;

/// A terminal that the session has, for its environment.
pub(super) struct Terminal {
    /// Its path; none where the session's host names terminals differently (another `/dev/pts`).
    pub(super) name: Option<String>,
    pub(super) term: String,
}

/// Makes descriptors 0 to 2 the user's. With a terminal: also the controlling one of this session.
pub(super) fn hand_over(request: &SessionRequest, user: &User) -> Result<Option<Terminal>, Failure> {
    let outcome = match &request.pty {
        Some(pty) => hand_over_terminal(pty, user, request.opened_by).map(Some),
        None => hand_over_pipes(user, request.opened_by).map(|()| None),
    };
    outcome.map_err(|error| {
        Failure::new(FailureKind::Terminal, format!("cannot hand over the session's terminal: {error}"))
    })
}

/// Takes the socket of questions from standard input; what is run later must not inherit it there.
pub(super) fn take_socket() -> Result<OwnedFd, Failure> {
    let take = || {
        let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
        dup2_stdin(File::open("/dev/null")?)?;
        Ok(socket)
    };
    take().map_err(|error: io::Error| {
        Failure::new(FailureKind::Terminal, format!("cannot take the socket of questions: {error}"))
    })
}

fn hand_over_terminal(pty: &Pty, user: &User, opened_by: u32) -> io::Result<Terminal> {
    let terminal = stdin();
    if !isatty(terminal) {
        return Err(io::Error::other("it is none"));
    }
    // Before anything of it is given away: the terminal of another session is refused here.
    ioctl_tiocsctty(terminal)?;
    if geteuid().is_root() {
        check_terminal(terminal, opened_by)?;
        own_terminal(terminal, user)?;
    }
    tcsetwinsize(
        terminal,
        Winsize {
            ws_col: pty.size.columns,
            ws_row: pty.size.rows,
            ws_xpixel: pty.size.width_pixels,
            ws_ypixel: pty.size.height_pixels,
        },
    )?;
    // A client may ask for modes that this terminal cannot have; that is no reason to refuse the session.
    let _ = pty.modes.apply(terminal);
    let name = ttyname(terminal, Vec::new()).ok().and_then(|name| name.into_string().ok());
    Ok(Terminal { name, term: pty.term.clone() })
}

/// Whether this is a terminal that was opened for the session, and not one that others use too: whoever sends the
/// descriptor chooses what it is of.
fn check_terminal(terminal: BorrowedFd<'_>, opened_by: u32) -> io::Result<()> {
    let found = fstat(terminal)?;
    let is_terminal = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
        && TERMINALS.contains(&major(found.st_rdev))
        && file_system(terminal)? == TERMINAL_FILE_SYSTEM;
    match is_terminal && found.st_uid == opened_by {
        true => Ok(()),
        false => Err(io::Error::other("it is not one that was opened for this session")),
    }
}

fn file_system(descriptor: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(u64::try_from(fstatfs(descriptor)?.f_type).unwrap_or(0))
}

/// Owner and mode as `login` sets them: group `tty` may write messages; without such a group, nobody else may.
fn own_terminal(terminal: BorrowedFd<'_>, user: &User) -> io::Result<()> {
    let tty_group = accounts::group_id(TTY_GROUP).unwrap_or(None);
    let group = tty_group.unwrap_or(user.account.gid);
    fchown(terminal, Some(Uid::from_raw(user.account.uid)), Some(Gid::from_raw(group)))?;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(fchmod(terminal, if tty_group.is_some() { mode | Mode::WGRP } else { mode })?)
}

/// A pipe belongs to its creator, and `/dev/stdout` opens it anew: without this the user could not write to it by that
/// name. Anything that is not an anonymous pipe, or is somebody else's, is left alone.
fn hand_over_pipes(user: &User, opened_by: u32) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    for descriptor in [stdin(), stdout(), stderr()] {
        let found = fstat(descriptor)?;
        let is_fifo = FileType::from_raw_mode(found.st_mode) == FileType::Fifo;
        if is_fifo && found.st_uid == opened_by && file_system(descriptor)? == PIPE_FILE_SYSTEM {
            fchown(descriptor, Some(Uid::from_raw(user.account.uid)), Some(Gid::from_raw(user.account.gid)))?;
        }
    }
    Ok(())
}
