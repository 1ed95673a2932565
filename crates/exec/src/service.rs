//! What a long-lived process with privilege does first, so that nobody else has a hold on it.

use std::io;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, setsid,
};

use crate::sys::process;

/// Closes every descriptor but 0, 1 and 2. For the first line of a program, which owns none of them yet.
pub fn close_inherited() -> io::Result<()> {
    process::close_inherited_descriptors()
}

/// Makes this a process of its own: nobody may look into it, no descriptor but 0, 1 and 2 is open, no signal of a terminal
/// or a service manager ends it ([`rustix::process::Signal::KILL`] does), and it may open as many files as the host allows.
pub fn stand_alone() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: core.maximum })?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    process::close_inherited_descriptors()?;
    process::ignore_signals();
    // Fails where it leads a process group already; then it is on its own as well.
    let _ = setsid();
    Ok(())
}
