//! Keeps what is in memory out of files: no core dumps, and panic messages without the values in them. And keeps the
//! daemon from running out of open files.

use std::panic::PanicHookInfo;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps off, and keeps other processes of the same user from reading this one's memory.
///
/// Only the soft limit is lowered: sessions inherit it, and whoever needs dumps of own programs can raise it.
///
/// # Errors
/// When the system refuses.
pub fn no_core_dumps() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the soft limit of open files to the hard one. The usual soft limit of 1024 is for programs that use `select`;
/// each session takes several files, so it would end at a few hundred of them.
pub fn many_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, soft = limit.current, hard = limit.maximum, "cannot raise the limit of open files");
    }
}

/// Logs panics: where, and what was said if that is a fixed text. A formatted message may hold a secret, so it is left
/// out.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name(), reason = fixed_text(info), "panic; this is a bug");
    }));
}

fn fixed_text(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld, it may hold values)")
}
