//! Child processes: run to the end, or kept running with their output in a file.

use crate::wait::{DEADLINE, until};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// What a finished command left.
#[derive(Debug)]
pub struct Outcome {
    /// The command as text.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Its exit code; 128 plus the signal's number when a signal ended it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Its standard output, or a panic that shows everything.
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }

    /// Its standard error; panics when it succeeded.
    pub fn refused(self) -> String {
        assert!(!self.status.success(), "should have been refused: {self:#?}");
        self.stderr
    }
}

/// Runs a command to its end; a command that does not end is killed and fails the test.
pub fn run(command: &mut Command) -> Outcome {
    run_with_input(command, b"")
}

/// As [`run`], with something to read.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Outcome {
    let text = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let (mut stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    std::thread::scope(|scope| {
        // A command that does not read is free not to.
        scope.spawn(move || stdin.write_all(input).ok());
        let stdout = scope.spawn(move || read_all(&mut stdout));
        let stderr = scope.spawn(move || read_all(&mut stderr));
        let status = wait(&mut child, &text);
        let join = |reader: std::thread::ScopedJoinHandle<'_, String>| {
            reader.join().expect("a reader does not panic")
        };
        Outcome { command: text.clone(), status, stdout: join(stdout), stderr: join(stderr) }
    })
}

fn read_all(source: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    source.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, text: &str) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return status;
        }
        if start.elapsed() > DEADLINE * 2 {
            child.kill().ok();
            panic!("{text} did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A process that runs until it is told to stop; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `<directory>/<name>.log`.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file in the scratch directory");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Panics with its log when it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("our own child") {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Whether this signal has ended it.
    pub fn ended_by(&mut self, signal: i32) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.child.try_wait().expect("our own child").and_then(|status| status.signal()) == Some(signal)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits")).expect("not zero");
        kill_process(pid, signal).expect("our own child");
    }

    /// SIGKILL, then waits.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("our own child");
    }

    /// SIGTERM, then waits for it to end by itself.
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("our own child") {
            return status;
        }
        self.signal(Signal::TERM);
        let Self { name, child, .. } = self;
        until(&format!("{name} to end after SIGTERM"), || child.try_wait().expect("our own child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}
