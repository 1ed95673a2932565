//! A started session, as its parent holds it: signals, end, and that nothing of it stays.
//!
//! The first process stays unreaped until the [`Session`] is dropped. So its number, which is also that of its process
//! group and of its kernel session, cannot be given to anything else while signals may still be sent to it.

mod members;

pub use members::{Act, Order, sweep};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};

use crate::cgroup;
use crate::exit::{Exit, SessionSignal};

/// The processes of one session: the first one and all that it started and that did not make a session of their own.
///
/// Dropping it while the first process runs kills them all, as [`Session::kill`] does; afterwards it only lets go of the
/// first one, and what it left in the background goes on. After [`Session::release`] it never kills.
#[derive(Debug)]
pub struct Session {
    pid: Pid,
    /// Readable once the first process has ended.
    pidfd: OwnedFd,
    /// The control group that all of its processes are in, where there is one.
    group: Option<PathBuf>,
    released: AtomicBool,
}

impl Session {
    /// Takes over a child of this process which leads, or is about to lead, a session; with the control group that it was
    /// born in, if that is its own. Where this is not possible the child is left as it is.
    pub(crate) fn adopt(pid: Pid, group: Option<PathBuf>) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd, group, released: AtomicBool::new(false) })
    }

    /// Knows from here on that all processes of the session are in this group.
    pub(crate) fn is_in(&mut self, group: Option<PathBuf>) {
        self.group = group.or(self.group.take());
    }

    /// The control group that all of its processes are in, where there is one and it is known.
    pub fn group(&self) -> Option<&Path> {
        self.group.as_deref()
    }

    /// Lets the session go on without anybody who could end it: nobody is there any more for whom it ran, and that is
    /// for its processes to notice. Keep the value until the first process has ended, so that it is reaped.
    pub fn release(&self) {
        self.released.store(true, Ordering::Release);
        if let Some(group) = &self.group {
            cgroup::leave(group);
        }
    }

    /// The number of the first process, of its process group, and of its kernel session.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// How the first process ended, or `None` while it runs. Does not block, and can be asked again.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        self.peek(WaitIdOptions::NOHANG)
    }

    /// Waits until the first process has ended. Blocks; where that must not be, wait until this value's descriptor is
    /// readable and then ask [`Session::try_wait`].
    pub fn wait(&self) -> io::Result<Exit> {
        self.peek(WaitIdOptions::empty())?.ok_or_else(|| io::Error::other("the wait ended without an exit"))
    }

    /// Sends a signal to the session's first process group on behalf of its user: only to processes whose real uid is
    /// `uid`. The rest, such as what sudo runs, that user could not signal either. Nobody left to receive it is no error.
    /// Reads the process table; call it from where blocking for milliseconds is no harm.
    pub fn signal(&self, signal: SessionSignal, uid: u32) {
        self.carry_out(Act::Signal(signal, uid));
    }

    /// Tells every process of the session that its terminal is gone: those that did not ask to survive that (`nohup`)
    /// end. Reads the process table; call it from where blocking for milliseconds is no harm.
    pub fn hang_up(&self) {
        self.carry_out(Act::HangUp);
    }

    /// Kills every process of the session: all in its control group. Where it has none, a process that made a kernel
    /// session of its own (a daemon) is not found. Reads the process table; call it from where blocking for milliseconds
    /// is no harm.
    pub fn kill(&self) {
        // Directly first: the helper may not have made its session yet, and then is in nobody's list.
        self.kill_first();
        self.carry_out(Act::Kill);
    }

    /// The same for later, together with what is wanted of other sessions; before this value is dropped.
    pub fn order(&self, act: Act) -> Option<Order> {
        Order::new(self.pid(), self.group(), act)
    }

    fn carry_out(&self, act: Act) {
        sweep(self.order(act).as_slice());
    }

    /// Kills what can be killed without a look at the process table: all in its control group, or the first process and
    /// its process group. The rest is for [`sweep`].
    pub fn kill_first(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = kill_process_group(self.pid, Signal::KILL);
        if let Some(group) = self.group.clone().or_else(|| cgroup::of_child(self.pid)) {
            cgroup::kill(&group);
        }
    }

    fn peek(&self, more: WaitIdOptions) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | more;
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), options))?;
        Ok(status.as_ref().map(Exit::from_wait))
    }
}

impl AsFd for Session {
    /// Becomes readable when the first process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let released = self.released.load(Ordering::Acquire);
        if !released && !matches!(self.try_wait(), Ok(Some(_))) {
            self.kill();
        }
        if let Some(group) = self.group.take().or_else(|| cgroup::of_child(self.pid)) {
            cgroup::let_go(group);
        }
        let pid = self.pid;
        let reap = move |more| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | more);
        if matches!(reap(WaitIdOptions::NOHANG), Ok(None)) && !released {
            // Killed, but perhaps in a system call that does not end soon; the parent must not wait for that.
            let _ = thread::Builder::new().name("reap-session".into()).spawn(move || {
                let _ = reap(WaitIdOptions::empty());
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    use super::members::Member;
    use super::*;

    /// A shell that leads its own kernel session, through `setsid(1)`; its output is a pipe that all members hold.
    #[expect(clippy::zombie_processes, reason = "the session reaps it")]
    fn shell(script: &str) -> (Session, BufReader<std::process::ChildStdout>) {
        let mut child = Command::new("setsid")
            .args(["/bin/sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("setsid is part of every system");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        (Session::adopt(Pid::from_child(&child), None).expect("a child"), output)
    }

    fn first_line(output: &mut impl BufRead) -> String {
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        line
    }

    #[test]
    fn an_end_can_be_asked_for_again_and_again() {
        let (session, mut output) = shell("echo up; exit 7");
        assert_eq!(first_line(&mut output), "up\n");
        assert_eq!(session.wait().expect("wait"), Exit::Code(7));
        assert_eq!(session.try_wait().expect("wait"), Some(Exit::Code(7)));
        session.signal(SessionSignal::TERM, 0);
    }

    #[test]
    fn kill_reaches_other_process_groups_and_orphans() {
        // `setsid` in `set -m` puts each job in its own group; the subshell's parent is gone when it counts.
        let (session, mut output) = shell("set -m; (sleep 1000 & sleep 1000 &) ; sleep 1000 & echo up; wait");
        assert_eq!(first_line(&mut output), "up\n");
        session.kill();
        assert_eq!(session.wait().expect("wait"), Exit::Signal { name: "KILL", core_dumped: false });
        // End of file means that the last process which held the pipe is gone.
        assert_eq!(output.read_to_end(&mut Vec::new()).expect("end of file"), 0);
    }

    #[test]
    fn a_user_s_signal_reaches_the_user_s_processes_alone() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root, for processes of two users");
            return;
        }
        let user = "trap 'echo user told; exit' TERM; echo up; while :; do sleep 0.05; done";
        let script = format!(
            "trap 'echo root told' TERM; setpriv --reuid=61001 --clear-groups sh -c \"{user}\"; echo user gone; sleep 0.1"
        );
        let (session, mut output) = shell(&script);
        assert_eq!(first_line(&mut output), "up\n");
        session.signal(SessionSignal::TERM, 61_001);
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("until the end");
        assert_eq!(rest, "user told\nuser gone\n");
    }

    #[test]
    fn hang_up_spares_what_asked_to_survive() {
        let (session, mut output) = shell("sleep 1000 & trap '' HUP; echo up; wait; echo still here");
        assert_eq!(first_line(&mut output), "up\n");
        session.hang_up();
        assert_eq!(first_line(&mut output), "still here\n");
        assert_eq!(session.wait().expect("wait"), Exit::Code(0));
    }

    #[test]
    fn dropping_ends_everything() {
        let (session, mut output) = shell("sleep 1000 & echo up; wait");
        assert_eq!(first_line(&mut output), "up\n");
        drop(session);
        assert_eq!(output.read_to_end(&mut Vec::new()).expect("end of file"), 0);
    }

    #[test]
    fn the_process_table_is_read_right() {
        let (session, mut output) = shell("echo up; sleep 1000");
        assert_eq!(first_line(&mut output), "up\n");
        let uid = rustix::process::getuid().as_raw();
        let first = Member { pid: session.pid, group: session.pid, session: session.pid };
        assert_eq!(members::real_uid(session.pid), Some(uid));
        assert_eq!(Member::of(session.pid), Some(first));
        session.kill();
        session.wait().expect("wait");
        assert_eq!(Member::of(session.pid), None, "dead, though not reaped yet");
        assert_eq!(Pid::from_raw(i32::MAX).and_then(Member::of), None);
    }
}
