//! The switch from root to the daemon's own user: groups, then capabilities that could come back, then group, user, the
//! capabilities in force, and the promise to gain none by a program. Then a look whether all of it is true.

use std::io;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid,
};

use super::account::Account;

/// Numbers that a kernel may give to capabilities.
const CAPABILITIES: u32 = 64;

/// Why the daemon could not become its user. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The process has threads already, and they would stay root.
    #[error("the process has {0} threads, and each would have to give up its rights; this is a bug")]
    Threads(u32),
    /// The system refuses a step.
    #[error("cannot {step}: {error}; is the daemon confined from outside, so that it cannot give up rights?")]
    Step {
        /// Which.
        step: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// After all steps something is left.
    #[error("the daemon should have given up all rights and has not: {0}")]
    Left(String),
}

fn step<T>(step: &'static str, result: rustix::io::Result<T>) -> Result<T, SwitchError> {
    result.map_err(|error| SwitchError::Step { step, error: error.into() })
}

/// Becomes the account, for good.
///
/// # Errors
/// When not everything could be given up; the process must end then.
pub fn become_account(account: &Account) -> Result<(), SwitchError> {
    single_thread()?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    step("leave all groups", set_thread_groups(&[]))?;
    step("give up capabilities for good", no_bounding_set())?;
    step("give up inherited capabilities", clear_ambient_capability_set().or_else(unknown_is_none))?;
    step("change the group", set_thread_res_gid(gid, gid, gid))?;
    step("change the user", set_thread_res_uid(uid, uid, uid))?;
    no_rights()?;
    verify(account)
}

/// For whoever is no user to be left: no capabilities, and none by any program.
///
/// # Errors
/// When the system refuses.
pub fn no_rights() -> Result<(), SwitchError> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step("give up capabilities", set_capabilities(None, none))?;
    step("promise to gain no rights", set_no_new_privs(true))
}

fn single_thread() -> Result<(), SwitchError> {
    match status()?.number("Threads:", 10) {
        Some(1) => Ok(()),
        threads => Err(SwitchError::Threads(threads.unwrap_or(0).try_into().unwrap_or(u32::MAX))),
    }
}

fn no_bounding_set() -> rustix::io::Result<()> {
    for number in 0..CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Beyond the last one of this kernel.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A kernel that does not know the set has nothing in it.
fn unknown_is_none(error: Errno) -> rustix::io::Result<()> {
    if error == Errno::INVAL { Ok(()) } else { Err(error) }
}

/// Looks at what the kernel says, and tries to get back.
fn verify(account: &Account) -> Result<(), SwitchError> {
    let left = |what: &str| Err(SwitchError::Left(what.to_owned()));
    if set_thread_uid(Uid::ROOT).is_ok() {
        return left("it can become root again");
    }
    if set_thread_gid(Gid::ROOT).is_ok() {
        return left("it can take root's group again");
    }
    let held = step("look at capabilities", capabilities(None))?;
    if !(held.effective | held.permitted | held.inheritable).is_empty() {
        return left("capabilities");
    }
    let status = status()?;
    for (field, id) in [("Uid:", account.uid), ("Gid:", account.gid)] {
        let ids: Vec<&str> = status.field(field).split_whitespace().collect();
        if ids.len() != 4 || ids.iter().any(|found| found.parse() != Ok(id)) {
            return left(&format!("{field} {}", status.field(field)));
        }
    }
    if !status.field("Groups:").trim().is_empty() {
        return left("groups");
    }
    for field in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        // Kernels before 4.3 have no ambient ones.
        if status.number(field, 16).is_some_and(|set| set != 0) {
            return left(&format!("{field} {}", status.field(field)));
        }
    }
    match status.number("NoNewPrivs:", 10) {
        Some(1) | None => Ok(()),
        Some(_) => left("it can gain rights by a program"),
    }
}

struct Status(String);

/// What the kernel says of this process.
fn status() -> Result<Status, SwitchError> {
    let read = std::fs::read_to_string("/proc/self/status");
    read.map(Status).map_err(|error| SwitchError::Step { step: "read /proc/self/status", error })
}

impl Status {
    fn field(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
    }

    fn number(&self, name: &str, radix: u32) -> Option<u64> {
        u64::from_str_radix(self.field(name).trim(), radix).ok()
    }
}
