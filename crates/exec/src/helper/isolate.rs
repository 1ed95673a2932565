//! Step 1: leave behind what a process inherits from its parent.

use std::fs;
use std::io;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, geteuid, getpriority_process, set_dumpable_behavior, setpriority_process, setsid, umask,
};

use crate::sys::process;

/// What new files of a session may not be: writable by others.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Makes this a process of its own: own session and process group, no foreign descriptors, keys or signal settings.
pub(super) fn isolate() -> io::Result<()> {
    if geteuid().is_root() {
        // While it is half root and half user, nobody may look into it or trace it. `execve` ends this.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    process::close_inherited_descriptors()?;
    process::reset_signals();
    umask(UMASK);
    setsid()?;
    process::leave_session_keyring();
    reset_standing();
    Ok(())
}

/// A node protects itself from the out-of-memory killer and may run at another priority; its users' processes must not
/// inherit that. Best effort: without root the kernel allows it only in one direction.
fn reset_standing() {
    if getpriority_process(None).is_ok_and(|nice| nice != 0) {
        let _ = setpriority_process(None, 0);
    }
    if fs::read_to_string(OOM_SCORE).is_ok_and(|score| score.trim() != "0") {
        let _ = fs::write(OOM_SCORE, "0");
    }
}
