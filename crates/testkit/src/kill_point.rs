//! Ends a process at a system call that was chosen beforehand: `strace` sends SIGKILL on the way into the call, which is then not
//! made. Everything before it has happened, nothing after it.

use crate::process::Process;
use crate::programs::{command, theirs};
use crate::wait::until;
use std::path::Path;
use std::process::Command;

/// Where a process ends: before the `nth` call of this name that a thread of it makes, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillPoint {
    /// The name of a system call.
    pub call: &'static str,
    /// Which one of them.
    pub nth: u32,
}

impl std::fmt::Display for KillPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.call, self.nth)
    }
}

impl KillPoint {
    /// Whether processes can be ended this way here; says so when they cannot.
    pub fn available() -> bool {
        let Some(strace) = theirs("strace") else { return false };
        let tried = command(strace).args(["-f", "-qq", "-o", "/dev/null", "/bin/true"]).output();
        let works = tried.is_ok_and(|tried| tried.status.success());
        if !works {
            eprintln!("SKIPPED: strace may not trace here");
        }
        works
    }

    /// The same command, ended here. What is started is the command itself; the tracer is no parent of it.
    pub fn reached_by(&self, victim: &Command) -> Command {
        let mut strace = self.strace();
        strace.args(["-D", "--"]).arg(victim.get_program()).args(victim.get_args());
        let set = victim.get_envs().filter_map(|(name, value)| Some((name, value?)));
        strace.env_clear().envs(set);
        strace
    }

    /// Ends a running process here. Counting has begun when this returns; a process that does not get here goes on when what
    /// is returned has gone.
    pub fn reached_by_running(&self, pid: u32, scratch: &Path) -> Process {
        let mut strace = self.strace();
        let mut tracer = Process::start("strace", scratch, strace.args(["-p", &pid.to_string()]));
        until("strace to hold every thread", || {
            tracer.assert_running();
            all_traced(pid).then_some(())
        });
        tracer
    }

    fn strace(&self) -> Command {
        let mut strace = command(theirs("strace").expect("asked for before"));
        let Self { call, nth } = self;
        strace.args(["-f", "-q", "-o", "/dev/null", "-e", "signal=none"]);
        strace.args(["-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when={nth}")]);
        strace
    }
}

/// Whether each thread of a process has a tracer.
fn all_traced(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let traced = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().to_owned();
        Some(tracer != "0")
    };
    threads.map(traced).all(|traced| traced == Some(true))
}
