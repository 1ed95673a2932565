//! However the launcher, its guard or its node end: nothing of a session stays.

mod support;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exec::{Exit, Launch, Pty, SessionIo, SessionRequest, TerminalModes, WindowSize};
use launcher::post::{INLINE, Parcel};
use launcher::protocol::{Answer, Request, Running};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use support::{Node, Session, User, login, output, with_terminal};

/// A session of several processes that all hold its output.
fn long(node: &Node) -> (Running, SessionIo, Session) {
    of(node, "sleep 1000 & (sleep 1000 & sleep 1000 &); sleep 1000", false)
}

/// The same with a daemon, which has left the session and is in its control group alone.
fn with_daemon(node: &Node, terminal: bool) -> (Running, SessionIo, Session) {
    of(node, "(trap '' HUP; exec setsid sleep 1000) & sleep 0.1; echo up; exec sleep 1000", terminal)
}

fn of(node: &Node, line: &str, terminal: bool) -> (Running, SessionIo, Session) {
    let (session, admission) = node.log_in(&with_terminal(&node.authorities, &login()));
    let mut request = SessionRequest::new(login(), Launch::Command(line.into()));
    let pty = || Pty { term: "xterm".into(), size: WindowSize::default(), modes: TerminalModes::default() };
    request.pty = terminal.then(pty);
    let (running, io) = node.launch(admission, &session.connection, &request).expect("runs");
    (running, io, session)
}

/// Where a session's processes are, if the kernel keeps them together; said aloud where it does not.
fn group(running: &Running) -> Option<PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", running.pid)).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let mount = mount.and_then(|line| line.split(' ').nth(4)).unwrap_or_default();
    let path = Path::new(mount).join(own.trim_start_matches('/'));
    let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("postern-"));
    if !is_own {
        eprintln!("SKIPPED: needs a cgroup2 file system that this process may write to");
    }
    is_own.then_some(path)
}

/// Waits until nothing is in a group.
fn until_empty(group: &Path) {
    let members = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for _ in 0..500 {
        if members().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still there: {}", members());
}

/// Waits until a session has printed something.
fn until_up(io: &SessionIo) {
    let (SessionIo::Pipes { stdout: output, .. } | SessionIo::Pty { master: output }) = io else {
        panic!("output")
    };
    rustix::io::ioctl_fionbio(output.as_fd(), false).expect("a descriptor");
    rustix::io::read(output, &mut [0; 8]).expect("it is up");
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a number")).expect("a number")
}

fn children(of: u32) -> Vec<u32> {
    let path = format!("/proc/{of}/task/{of}/children");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn with_the_node() {
    let node = Node::start();
    let (running, io, _session) = long(&node);
    let Node { launcher, directory: _directory, .. } = node;
    let launcher::client::Launcher { socket, mut process, .. } = launcher;
    drop(socket);
    // The end of the output is the end of the last process that held it.
    assert_eq!(output(io), "");
    assert!(process.wait().expect("a child").success(), "it was told to");
    assert!(test_kill_process(pid(running.pid)).is_err(), "and no zombie");
}

#[test]
fn with_the_launcher() {
    let node = Node::start();
    let (running, io, _session) = long(&node);
    kill_process(pid(node.launcher.process.id()), Signal::KILL).expect("killed");
    assert_eq!(output(io), "");
    // Whoever is the parent of orphans here reaps it, which need not be at once.
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", running.pid)).unwrap_or_default();
    let is_dead = |stat: &str| stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
    for _ in 0..500 {
        if is_dead(&state()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(is_dead(&state()), "{}", state());
    assert!(!node.ended().success());
}

#[test]
fn with_the_launcher_daemons_too() {
    for terminal in [false, true] {
        let node = Node::start();
        let (running, io, _session) = with_daemon(&node, terminal);
        until_up(&io);
        let Some(group) = group(&running) else { return };
        // As it is for as long as its parent has not reaped it.
        kill_process(pid(node.launcher.process.id()), Signal::KILL).expect("killed");
        until_empty(&group);
        assert!(!node.ended().success());
    }
}

#[test]
fn with_the_launcher_daemons_of_a_session_whose_first_process_is_gone_too() {
    for terminal in [false, true] {
        let node = Node::start();
        let (running, io, _session) = with_daemon(&node, terminal);
        until_up(&io);
        let Some(group) = group(&running) else { return };
        kill_process(pid(running.pid), Signal::KILL).expect("killed");
        // Nobody has said that it is not wanted any more.
        assert!(matches!(node.hear(), Answer::Ended(..)));
        kill_process(pid(node.launcher.process.id()), Signal::KILL).expect("killed");
        until_empty(&group);
        assert!(!node.ended().success());
    }
}

#[test]
fn with_the_guard() {
    let node = Node::start();
    let (running, io, _session) = long(&node);
    let own = node.launcher.process.id();
    let guard = children(own).into_iter().find(|child| *child != running.pid).expect("a guard");
    kill_process(pid(guard), Signal::KILL).expect("killed");
    assert_eq!(output(io), "");
    assert!(!node.ended().success(), "it does not go on unwatched");
}

#[test]
fn by_nonsense_of_the_node() {
    let huge = vec![9; 2 * INLINE];
    let again = Request::Close(1).encode();
    let trailing = [&again[..], &[0]].concat();
    for nonsense in [vec![], vec![0], vec![255; 40], trailing, huge] {
        let node = Node::start();
        let (_, io, _session) = long(&node);
        Parcel::new(nonsense).and_then(|parcel| parcel.send(&node.launcher.socket, &[])).expect("sent");
        assert_eq!(output(io), "");
        assert!(!node.ended().success());
    }
}

#[test]
fn not_by_a_message_for_whose_descriptors_there_is_no_room() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let (running, io, session) = long(&node);
    let (other, admission) = node.log_in(&alice);
    let launcher = node.launcher.process.id();
    let room = |files| {
        let limit = format!("--nofile={files}:");
        let done =
            std::process::Command::new("prlimit").args(["--pid", &launcher.to_string(), &limit]).status();
        assert!(done.expect("util-linux is everywhere").success());
    };
    // As many as it has already.
    let open = std::fs::read_dir(format!("/proc/{launcher}/fd")).expect("readable").count();
    room(open);
    let short = SessionRequest::new(login(), Launch::Command(b"true".to_vec()));
    let huge = SessionRequest::new(login(), Launch::Command(vec![b' '; 2 * INLINE]));
    for request in [&short, &huge] {
        let denied = node.launch(admission, &other.connection, request).expect_err("no room");
        assert_eq!(denied.code, "node_busy", "{denied:?}");
    }
    room(1024);
    assert_eq!(node.runs(&alice, "echo beside").trim(), "beside");
    test_kill_process(pid(running.pid)).expect("lives");
    drop((io, session));
}

#[test]
fn by_a_message_that_is_too_long_for_the_socket_s_buffer_there() {
    let node = Node::start();
    let raw = vec![0; INLINE + 100];
    rustix::net::send(&node.launcher.socket, &raw, rustix::net::SendFlags::empty()).expect("sent");
    assert!(!node.ended().success());
}

#[test]
fn what_is_released_while_it_runs_is_killed_and_what_is_abandoned_is_not() {
    let node = Node::start();
    let (running, io, _session) = long(&node);
    node.say(&Request::Release(running.session), &[]);
    assert_eq!(output(io), "");

    // As long as the client is there, or without its word, nothing is abandoned.
    for with_connection in [false, true] {
        let (running, io, session) = long(&node);
        let connections = [session.connection.as_fd()];
        node.say(&Request::Abandon(running.session), if with_connection { &connections } else { &[] });
        assert_eq!(output(io), "");
    }
    let ((running, io, _session), other) = (long(&node), node.session());
    drop(other.client);
    node.say(&Request::Abandon(running.session), &[other.connection.as_fd()]);
    assert_eq!(output(io), "", "another connection");

    let (running, io, session) = long(&node);
    drop(session.client);
    node.say(&Request::Abandon(running.session), &[session.connection.as_fd()]);
    node.say(&Request::Release(running.session), &[]);
    // Behind both, so that they were heard.
    node.policy((Vec::new(), Vec::new())).expect_err("no policy");
    test_kill_process(pid(running.pid)).expect("lives");
    kill_process(pid(running.pid), Signal::KILL).expect("killed");
    rustix::process::kill_process_group(pid(running.pid), Signal::KILL).expect("killed");
    drop((io, session.connection));
}

#[test]
fn ends_and_signals_are_told() {
    let node = Node::start();
    let (session, admission) = node.log_in(&User::of(&node.authorities));
    let run = |line: &str| {
        let request = SessionRequest::new(login(), Launch::Command(line.into()));
        node.launch(admission, &session.connection, &request).expect("runs")
    };
    let (running, _io) = run("exit 7");
    assert_eq!(node.hear(), Answer::Ended(running.session, Exit::Code(7)));
    node.say(&Request::Release(running.session), &[]);
    let (running, io) = run("echo up; exec sleep 1000");
    let SessionIo::Pipes { stdout, .. } = &io else { panic!("pipes") };
    rustix::io::ioctl_fionbio(stdout.as_fd(), false).expect("a pipe");
    rustix::io::read(stdout, &mut [0; 8]).expect("it is up");
    node.say(&Request::Signal(running.session, "NONSENSE".into()), &[]);
    node.say(&Request::Signal(running.session, "TERM".into()), &[]);
    assert_eq!(node.hear(), Answer::Ended(running.session, Exit::by_signal("TERM", false)));
    // Nobody knows these.
    node.say(&Request::Kill(12_345), &[]);
    node.say(&Request::Release(running.session), &[]);
    let request = SessionRequest::new(login(), Launch::Command(b"\xff".to_vec()));
    assert!(node.launch(admission, &session.connection, &request).is_ok(), "a shell that finds no command");
}
