//! Terminals that a node which was taken over has not opened for a session are not given away.

mod support;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use exec::{Launch, Pty, SessionIo, SessionRequest, TerminalModes, WindowSize};
use rustix::fs::{Gid, Uid, fchown};
use rustix::process::geteuid;
use support::{Node, Session, login, with_terminal};

fn request(login: &str) -> SessionRequest {
    let mut request = SessionRequest::new(login, Launch::Command(b"exec sleep 1000".to_vec()));
    let (size, modes) = (WindowSize::default(), TerminalModes::default());
    request.pty = Some(Pty { term: "xterm".into(), size, modes });
    request
}

/// A node, and somebody who may have a terminal as `nobody`; nothing, said aloud, without root.
fn as_nobody() -> Option<(Node, Session, u64)> {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root, to give a terminal to another user");
        return None;
    }
    let node = Node::start();
    let (session, admission) = node.log_in_as(&with_terminal(&node.authorities, "nobody"), "nobody");
    Some((node, session, admission))
}

/// The user's side of a terminal, twice: to give one away and to look at it.
fn terminal() -> (SessionIo, OwnedFd, OwnedFd) {
    let (io, mut theirs) = SessionIo::open(&request("nobody")).expect("opened");
    let one = theirs.pop().expect("a terminal");
    (io, one.try_clone().expect("a copy"), one)
}

#[test]
fn what_all_terminals_share_is_nobody_s() {
    let Some((node, session, admission)) = as_nobody() else { return };
    let state =
        |path: &str| std::fs::metadata(path).map(|found| (found.uid(), found.gid(), found.mode())).ok();
    let paths = ["/dev/ptmx", "/dev/pts/ptmx", "/dev/tty", "/dev/console", "/dev/tty1"];
    for path in paths {
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let before = state(path);
        // Without a terminal of one's own /dev/tty cannot be opened.
        let Ok(file) = open(path) else { continue };
        let copy = || OwnedFd::from(file.try_clone().expect("a copy"));
        let denied =
            node.launch_with(admission, &session.connection, &request("nobody"), &[copy(), copy(), copy()]);
        assert_eq!(denied.expect_err("refused").code, "terminal", "{path}");
        assert_eq!(state(path), before, "{path}");
    }
}

#[test]
fn a_terminal_of_somebody_else_stays_so() {
    let Some((node, session, admission)) = as_nobody() else { return };
    let (_io, theirs, looked_at) = terminal();
    let somebody = Uid::from_raw(61_001);
    fchown(&looked_at, Some(somebody), Some(Gid::from_raw(61_002))).expect("root may");
    let copy = || theirs.try_clone().expect("a copy");
    let denied =
        node.launch_with(admission, &session.connection, &request("nobody"), &[copy(), copy(), copy()]);
    assert_eq!(denied.expect_err("refused").code, "terminal");
    let owner = File::from(looked_at).metadata().expect("there");
    assert_eq!((owner.uid(), owner.gid()), (61_001, 61_002));
}

#[test]
fn a_terminal_of_another_session_stays_so() {
    let Some((node, session, admission)) = as_nobody() else { return };
    let (_io, theirs, looked_at) = terminal();
    let copy = || theirs.try_clone().expect("a copy");
    let (other, own) = node.log_in_as(&with_terminal(&node.authorities, &login()), &login());
    node.launch_with(own, &other.connection, &request(&login()), &[copy(), copy(), copy()]).expect("runs");
    let denied =
        node.launch_with(admission, &session.connection, &request("nobody"), &[copy(), copy(), copy()]);
    assert_eq!(denied.expect_err("refused").code, "terminal");
    assert_eq!(File::from(looked_at).metadata().expect("there").uid(), 0, "root's, who has the session");
}

#[test]
fn a_terminal_that_was_opened_for_it_is_the_user_s_and_a_pipe_of_somebody_else_is_not() {
    let Some((node, session, admission)) = as_nobody() else { return };
    let (_io, theirs, looked_at) = terminal();
    let copy = || theirs.try_clone().expect("a copy");
    node.launch_with(admission, &session.connection, &request("nobody"), &[copy(), copy(), copy()])
        .expect("runs");
    assert_ne!(File::from(looked_at).metadata().expect("there").uid(), 0);
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    let pipe = OwnedFd::from(pipe);
    fchown(&pipe, Some(Uid::from_raw(61_001)), None).expect("root may");
    let command = SessionRequest::new("nobody", Launch::Command(b"true".to_vec()));
    let copy = || pipe.try_clone().expect("a copy");
    node.launch_with(admission, &session.connection, &command, &[copy(), copy(), copy()]).expect("runs");
    assert_eq!(File::from(pipe).metadata().expect("there").uid(), 61_001);
}
