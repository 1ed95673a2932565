//! Step 5: become the user, and make sure that there is no way back.

use std::io;

use rustix::process::{geteuid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
};

use super::account::User;
use crate::status::{Failure, FailureKind};
use crate::sys::process;

/// Whose work the session's keyring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyring {
    /// This program's: an empty one.
    Ours,
    /// That of PAM's modules, who may have put something into it.
    Modules,
}

/// After `Ok` this process has the user's ids and groups, and (unless the user is root) no capability and no way to root.
pub(super) fn become_user(user: &User, keyring: Keyring) -> Result<(), Failure> {
    switch(user, keyring).map_err(|error| {
        let detail = format!("cannot become \"{}\": {error}", user.account.name);
        Failure::new(FailureKind::SwitchUser, detail)
    })
}

fn switch(user: &User, keyring: Keyring) -> io::Result<()> {
    let account = &user.account;
    // Without root there is one user only, whom this process already is: the lookup made sure.
    if geteuid().is_root() {
        drop_inheritable_capabilities()?;
        process::become_user(account.uid, account.gid, &user.groups)?;
        check_groups(user)?;
        check_ids(account.uid, account.gid)?;
        if keyring == Keyring::Ours {
            // The fresh keyring of step 1 counts against root's quota; this one is the user's own. Either will do.
            process::leave_session_keyring();
        }
    }
    if account.uid != 0 {
        check_no_way_back()?;
    }
    Ok(())
}

/// Inheritable and ambient capabilities pass through a change of user and through `execve`.
fn drop_inheritable_capabilities() -> io::Result<()> {
    // Kernels before 4.3 have no ambient set to clear.
    let _ = clear_ambient_capability_set();
    let CapabilitySets { effective, permitted, inheritable: _ } = capabilities(None)?;
    Ok(set_capabilities(None, CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() })?)
}

fn check_ids(uid: u32, gid: u32) -> io::Result<()> {
    if process::ids()? == ([uid; 3], [gid; 3]) {
        Ok(())
    } else {
        Err(io::Error::other("the ids did not change"))
    }
}

fn check_groups(user: &User) -> io::Result<()> {
    let sorted = |mut groups: Vec<u32>| {
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    let now = sorted(getgroups()?.into_iter().map(|group| group.as_raw()).collect());
    if now == sorted(user.groups.clone()) {
        Ok(())
    } else {
        Err(io::Error::other("the groups did not change"))
    }
}

fn check_no_way_back() -> io::Result<()> {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    if !(effective | permitted | inheritable).is_empty() {
        return Err(io::Error::other("capabilities are left over"));
    }
    if process::can_regain_root() {
        // Whatever made that possible, this process must not go on to do anything, not even to explain.
        std::process::abort();
    }
    Ok(())
}
