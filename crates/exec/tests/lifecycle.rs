//! The node's half against the real helper and against programs that are none.

mod support;

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use exec::{
    Exit, FailureKind, Launch, Pty, Running, SessionIo, SessionRequest, SessionSignal, SpawnError,
    TerminalModes, WindowSize, resize, spawn,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionbio;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const PATIENCE: Duration = Duration::from_secs(60);

/// A request for the account that runs the tests, so that these need no root.
fn request(command: &str) -> SessionRequest {
    let me = Command::new("id").arg("-un").output().expect("id runs");
    let login = String::from_utf8(me.stdout).expect("a name").trim().to_owned();
    SessionRequest::new(login, Launch::Command(command.as_bytes().to_vec()))
}

fn with_terminal(command: &str) -> SessionRequest {
    let size = WindowSize::from_wire(80, 24, 0, 0);
    let modes = TerminalModes::from_pairs([(53, 0), (70, 0)]);
    SessionRequest { pty: Some(Pty { term: "vt100".into(), size, modes }), ..request(command) }
}

fn run(request: &SessionRequest) -> Running {
    spawn(support::helper(), request).expect("spawn").started(PATIENCE).expect("started")
}

fn blocking(fd: OwnedFd) -> File {
    ioctl_fionbio(&fd, false).expect("a descriptor");
    File::from(fd)
}

fn pipes(io: SessionIo) -> (File, BufReader<File>, File) {
    let SessionIo::Pipes { stdin, stdout, stderr, records: None } = io else {
        panic!("asked for no terminal")
    };
    (blocking(stdin), BufReader::new(blocking(stdout)), blocking(stderr))
}

fn line(input: &mut impl BufRead) -> String {
    let mut line = String::new();
    input.read_line(&mut line).expect("a line");
    line
}

#[test]
fn the_node_learns_pid_uid_and_end() {
    let Running { session, io, started } = run(&request("echo $$; exit 9"));
    let (_, mut stdout, _) = pipes(io);
    assert_eq!(line(&mut stdout).trim(), session.pid().to_string());
    assert_eq!(started.pid, session.pid());
    assert_eq!(started.uid, rustix::process::geteuid().as_raw());
    poll(&mut [PollFd::new(&session, PollFlags::IN)], None).expect("readable at the end");
    assert_eq!(session.try_wait().expect("ended"), Some(Exit::Code(9)));
}

#[test]
fn a_core_image_is_told_of() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let dir = tempfile::tempdir().expect("a directory");
    let script = format!("cd {}; ulimit -c unlimited && echo may; kill -SEGV $$", dir.path().display());
    let Running { session, io, started: _ } = run(&request(&script));
    let may = line(&mut pipes(io).1) == "may\n";
    if pattern.starts_with('|') || pattern.contains('/') || !may {
        eprintln!("SKIPPED: this host does not let core images be written into the working directory");
        return;
    }
    let end = session.wait().expect("an end");
    assert_eq!(end, Exit::Signal { name: "SEGV", core_dumped: true });
}

#[test]
fn the_node_s_ends_never_block_and_are_not_inherited() {
    let Running { session: _session, io, started: _ } = run(&request("cat"));
    let SessionIo::Pipes { stdin, stdout, stderr, records: None } = io else { panic!("pipes") };
    for fd in [&stdout, &stderr] {
        let error =
            File::from(fd.try_clone().expect("a copy")).read(&mut [0]).expect_err("nothing there yet");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
    for fd in [stdin, stdout, stderr] {
        assert!(rustix::io::fcntl_getfd(fd).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn signals_reach_the_session_s_group() {
    let trap = request("trap 'echo got; exit 4' INT; echo ready; sleep 1000 & wait");
    let Running { session, io, started } = run(&trap);
    let (_, mut stdout, _) = pipes(io);
    assert_eq!(line(&mut stdout), "ready\n");
    session.signal(SessionSignal::from_name("INT").expect("a name of the RFC"), started.uid);
    assert_eq!(line(&mut stdout), "got\n");
    assert_eq!(session.wait().expect("an end"), Exit::Code(4));
    // A job in the background ignores INT, as POSIX has it; it is still of this session.
    session.kill();

    let Running { session, io: _io, started } = run(&request("exec sleep 1000"));
    session.signal(SessionSignal::TERM, started.uid);
    assert_eq!(session.wait().expect("an end"), Exit::Signal { name: "TERM", core_dumped: false });
}

#[test]
fn killing_a_session_takes_its_jobs_along() {
    let Running { session, io, started: _ } =
        run(&request("set -m; sleep 1000 & (sleep 1000 &); echo up; wait"));
    let (_, mut stdout, _) = pipes(io);
    assert_eq!(line(&mut stdout), "up\n");
    drop(session);
    assert_eq!(stdout.read_to_end(&mut Vec::new()).expect("all writers are gone"), 0);
}

#[test]
fn a_terminal_can_be_resized_and_hung_up() {
    let script = "trap 'stty size' WINCH; stty size; while :; do read line || exit 3; done";
    let Running { session, io, started: _ } = run(&with_terminal(script));
    let SessionIo::Pty { master } = io else { panic!("asked for a terminal") };
    let mut output = BufReader::new(blocking(master.try_clone().expect("a copy")));
    assert_eq!(line(&mut output), "24 80\n");
    resize(&master, WindowSize::from_wire(132, 50, 0, 0)).expect("resize");
    // The trap runs once the shell is back from `read`.
    File::from(master.try_clone().expect("a copy")).write_all(b"\n").expect("a line");
    assert_eq!(line(&mut output), "50 132\n");
    drop(output);
    drop(master);
    assert!(matches!(session.wait().expect("an end"), Exit::Signal { name: "HUP", .. } | Exit::Code(3)));
}

/// An executable script as the helper.
fn script(dir: &Path, text: &str) -> std::path::PathBuf {
    let path = dir.join("helper");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("own file");
    path
}

#[test]
fn helpers_that_hang_die_or_are_missing_are_failures() {
    let dir = tempfile::tempdir().expect("a directory");
    let hangs = script(dir.path(), "exec sleep 1000");
    let error =
        spawn(&hangs, &request("id")).expect("spawn").started(Duration::from_millis(50)).expect_err("hangs");
    assert!(
        matches!(&error, SpawnError::Failed(failure) if failure.kind == FailureKind::TimedOut),
        "{error}"
    );

    for last_act in ["exit 1", "head -c 4 >/dev/null; exit 1", "kill -SEGV $$"] {
        let dir = tempfile::tempdir().expect("a directory");
        let dies = script(dir.path(), last_act);
        let error =
            spawn(&dies, &request("id")).and_then(|spawned| spawned.started(PATIENCE)).expect_err("dies");
        assert!(
            matches!(&error, SpawnError::Failed(failure) if failure.kind == FailureKind::HelperDied),
            "{last_act}: {error}"
        );
    }

    let error = spawn(&dir.path().join("missing"), &request("id")).expect_err("missing");
    assert!(matches!(&error, SpawnError::Io { doing: "start session-exec", .. }), "{error}");
    let error = spawn(support::helper(), &SessionRequest::new("", Launch::Sftp)).expect_err("no login");
    assert!(matches!(&error, SpawnError::Request(_)), "{error}");
}

#[test]
fn the_helper_alone_does_nothing() {
    let output = Command::new(support::helper()).stdin(Stdio::null()).output().expect("runs");
    assert_eq!(output.status.code(), Some(255));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the node service starts this program"), "{text}");
}

/// Speaks to a helper by hand: what it answers, and its exit code.
fn by_hand(bytes: &[u8], descriptors: usize) -> (Vec<u8>, Option<i32>) {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket");
    let mut child = Command::new(support::helper())
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    let null = File::open("/dev/null").expect("a descriptor");
    let fds = vec![null.as_fd(); descriptors];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&ours, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL).expect("sent");
    ours.shutdown(std::net::Shutdown::Write).expect("a socket");
    let mut answer = Vec::new();
    // A helper that exits with unread input resets the socket.
    let _ = ours.read_to_end(&mut answer);
    (answer, child.wait().expect("an end").code())
}

#[test]
fn requests_that_are_none_are_refused() {
    let framed = |body: &[u8]| [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], body].concat();
    let valid = request("id").encode().expect("valid");
    for (body, why) in [
        (&b"\x09"[..], "has version 9"),
        (&valid[..1], "middle of a field"),
        (&valid[..valid.len() - 1], "middle"),
    ] {
        let (answer, code) = by_hand(&framed(body), 3);
        let failure = exec::status::decode(&answer).expect_err("refused");
        assert_eq!((failure.kind, code), (FailureKind::BadRequest, Some(255)));
        assert!(failure.detail.contains(why), "{failure}");
    }
    // No answer where there is nothing to answer to: too few or too many descriptors, a length that is a lie.
    for (bytes, descriptors) in [
        (framed(&valid), 2),
        (framed(&valid), 4),
        (framed(&valid)[..20].to_vec(), 3),
        (vec![0xff; 8], 3),
        (vec![0], 3),
    ] {
        assert_eq!(by_hand(&bytes, descriptors), (Vec::new(), Some(255)));
    }
}
