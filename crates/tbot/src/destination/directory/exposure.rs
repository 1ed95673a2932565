//! Whether anybody but this process' user could replace files in a directory: keys in it could be read by making the
//! agent write elsewhere, and `ssh_config` in it runs commands.

use super::super::DestinationError;
use super::system;
use crate::accounts;
use rustix::fs::{self, AtFlags, Mode};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const STICKY: Mode = Mode::SVTX;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    owner: u32,
    mode: Mode,
    /// The group's bits of the mode are the mask of an access control list.
    acl: bool,
}

/// What is wrong, and what follows `chown` or `chmod`.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Somebody else may do everything with it.
    Owner,
    /// The mode lets others write.
    Mode,
}

/// Refuses the directory `root` at `path` if others could change what is in it, or put another in its place.
pub(super) fn refuse(root: &OwnedFd, path: &Path, acls: bool) -> Result<(), DestinationError> {
    let me = rustix::process::geteuid().as_raw();
    let found = fs::fstat(root).map_err(system("look at", path))?;
    let seen =
        Seen { owner: found.st_uid, mode: Mode::from_raw_mode(found.st_mode), acl: has_acl(root.as_fd()) };
    match judge(seen, me, acls) {
        Some(Fault::Owner) if me == 0 => return Err(of_the_bots_user(path, seen)),
        Some(fault) => return Err(exposed(path, seen, &fault, me)),
        None => {}
    }
    // The directory above, where the path leads to it: whoever may write there may swap this one.
    let (Ok(above), Some(parent)) =
        (fs::statat(root, "..", AtFlags::empty()), path.parent().filter(|parent| *parent != path))
    else {
        return Ok(());
    };
    let mode = Mode::from_raw_mode(above.st_mode);
    match mode.contains(Mode::WOTH) && !mode.contains(STICKY) {
        true => Err(exposed(parent, Seen { owner: above.st_uid, mode, acl: false }, &Fault::Mode, me)),
        false => Ok(()),
    }
}

/// Refuses it if who owns the directory above, or anybody, could put another in its place; for root, who may do everything to
/// that other.
pub(super) fn refuse_above(root: &OwnedFd, path: &Path) -> Result<(), DestinationError> {
    let me = rustix::process::geteuid().as_raw();
    let Some(parent) = path.parent() else { return Ok(()) };
    let above = fs::statat(root, "..", AtFlags::empty()).map_err(system("look at", parent))?;
    let seen = Seen { owner: above.st_uid, mode: Mode::from_raw_mode(above.st_mode), acl: false };
    if seen.owner != me && seen.owner != 0 {
        return Err(exposed(parent, seen, &Fault::Owner, me));
    }
    match seen.mode.contains(Mode::WOTH) && !seen.mode.contains(STICKY) {
        true => Err(exposed(parent, seen, &Fault::Mode, me)),
        false => Ok(()),
    }
}

/// Refuses a path on which anybody but root or this process' user could put something else in the place of what is there: of the
/// file or directory itself, and of every directory above. As strict as sshd is with what it believes, but for sticky directories.
pub fn refuse_way(path: &Path) -> Result<(), DestinationError> {
    let me = rustix::process::geteuid().as_raw();
    // Where nothing is yet, it is made by us, below what there is.
    let Some(real) = path.ancestors().find_map(|part| part.canonicalize().ok()) else { return Ok(()) };
    for part in real.ancestors() {
        let found = fs::stat(part).map_err(system("look at", part))?;
        let mode = Mode::from_raw_mode(found.st_mode);
        let seen = Seen { owner: found.st_uid, mode, acl: false };
        let fault = match judge(seen, me, false) {
            Some(Fault::Mode) if mode.contains(STICKY) && part != real => None,
            fault => fault,
        };
        if let Some(fault) = fault {
            return Err(exposed(part, seen, &fault, me));
        }
    }
    Ok(())
}

fn judge(seen: Seen, me: u32, acls: bool) -> Option<Fault> {
    // Root may do everything anyway.
    if seen.owner != me && seen.owner != 0 {
        return Some(Fault::Owner);
    }
    let group = seen.mode.contains(Mode::WGRP) && !(acls && seen.acl);
    (group || seen.mode.contains(Mode::WOTH)).then_some(Fault::Mode)
}

/// By its length alone: reading into nothing succeeds with nothing.
fn has_acl(root: impl AsFd) -> bool {
    fs::fgetxattr_query(root, "system.posix_acl_access").is_ok_and(|length| length > 0)
}

fn exposed(path: &Path, seen: Seen, fault: &Fault, me: u32) -> DestinationError {
    let Seen { owner, mode, .. } = seen;
    let mode = mode.as_raw_mode() & 0o7777;
    let (fault, mend) = match fault {
        Fault::Owner => (owned(seen), format!("run `chown {me} {}`", path.display())),
        Fault::Mode => (
            format!(
                "may be written to by others (owner uid {owner}, mode {mode:04o}), who could replace the credentials in it"
            ),
            format!("run `chmod go-w {}`", path.display()),
        ),
    };
    DestinationError::Exposed { path: path.to_owned(), fault, mend }
}

/// Root finds a directory that was made for an agent of another user.
fn of_the_bots_user(path: &Path, seen: Seen) -> DestinationError {
    let mend = format!("run tbot as that user ({})", accounts::as_user(seen.owner));
    DestinationError::Exposed { path: path.to_owned(), fault: owned(seen), mend }
}

fn owned(Seen { owner, mode, .. }: Seen) -> String {
    let mode = mode.as_raw_mode() & 0o7777;
    format!("belongs to uid {owner} (mode {mode:04o}), who could replace the credentials in it")
}

#[cfg(test)]
mod tests {
    use super::{Fault, Seen, judge, refuse_way};
    use crate::destination::{Directory, Symlinks};
    use rustix::fs::Mode;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn owner_and_mode_decide() {
        let seen = |owner, mode, acl| Seen { owner, mode: Mode::from_raw_mode(mode), acl };
        for (owner, mode, acl, me, acls, expected) in [
            (1000, 0o700, false, 1000, true, None),
            (1000, 0o755, false, 1000, true, None),
            (0, 0o755, false, 1000, true, None),
            (1000, 0o700, false, 0, true, Some(Fault::Owner)),
            (1001, 0o755, false, 1000, true, Some(Fault::Owner)),
            (1000, 0o770, false, 1000, true, Some(Fault::Mode)),
            (1000, 0o707, false, 1000, true, Some(Fault::Mode)),
            (0, 0o1777, false, 1000, true, Some(Fault::Mode)),
            (1000, 0o770, true, 1000, true, None),
            (1000, 0o770, true, 1000, false, Some(Fault::Mode)),
            (1000, 0o772, true, 1000, true, Some(Fault::Mode)),
        ] {
            assert_eq!(
                judge(seen(owner, mode, acl), me, acls),
                expected,
                "{owner} {mode:o} {acl} {me} {acls}"
            );
        }
    }

    #[test]
    fn real_modes_are_refused_with_the_command_that_mends_them() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let above = scratch.path().join("above");
        let path = above.join("out");
        std::fs::create_dir_all(&path).expect("created");
        let set = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
        };
        let out = Directory::new(&path, Symlinks::Secure);
        for mode in [0o770, 0o702, 0o1777] {
            set(&path, mode);
            let refused = out.prepare().expect_err("refused").to_string();
            let words = format!(
                "mode {mode:04o}), who could replace the credentials in it; run `chmod go-w {}`",
                path.display()
            );
            assert!(refused.contains(&words), "{refused}");
        }
        set(&path, 0o755);
        out.prepare().expect("mended");
        set(&above, 0o777);
        let refused = out.prepare().expect_err("refused").to_string();
        assert!(refused.contains(&format!("run `chmod go-w {}`", above.display())), "{refused}");
        set(&above, 0o1777);
        out.prepare().expect("a sticky directory above is fine");
    }

    #[test]
    fn a_real_access_control_list_is_seen() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("out");
        std::fs::create_dir(&path).expect("created");
        let setfacl = std::process::Command::new("setfacl").args(["-m", "u:4123456:rwx"]).arg(&path).status();
        if !setfacl.is_ok_and(|status| status.success()) {
            eprintln!(
                "SKIPPED: setfacl is not installed, or the file system has no lists; `make test` installs it"
            );
            return;
        }
        let out = Directory::new(&path, Symlinks::Secure);
        out.prepare().expect("a list may let others write");
        let refused = out.acls(crate::destination::Acls::Off).prepare().expect_err("refused").to_string();
        assert!(refused.contains("chmod go-w"), "{refused}");
    }

    #[test]
    fn nobody_may_write_on_the_way_to_what_sshd_believes() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to give a directory away");
            return;
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let above = scratch.path().join("above");
        let path = above.join("between/out");
        std::fs::create_dir_all(&path).expect("created");
        let refused = || refuse_way(&path).expect_err("refused").to_string();
        refuse_way(&path).expect("root's alone, below a sticky directory");
        refuse_way(&path.join("not/there/yet")).expect("it would be root's");
        chown(&above, Some(65_534), None).expect("given away");
        assert!(refused().contains("belongs to uid 65534"), "{}", refused());
        chown(&above, Some(0), None).expect("taken back");
        // What an access control list lets others do shows in the bits of the group.
        for (whose, mode) in [(&above, 0o775), (&path, 0o770), (&path, 0o1777)] {
            std::fs::set_permissions(whose, PermissionsExt::from_mode(mode)).expect("ours");
            assert!(refused().contains(&format!("chmod go-w {}", whose.display())), "{}", refused());
            std::fs::set_permissions(whose, PermissionsExt::from_mode(0o755)).expect("ours");
        }
        let linked = scratch.path().join("linked");
        std::os::unix::fs::symlink(&path, &linked).expect("linked");
        chown(&above, Some(65_534), None).expect("given away");
        assert!(refuse_way(&linked).is_err(), "it is where the link leads that counts");
    }

    #[test]
    fn somebody_elses_directory_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to give a directory away");
            return;
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("out");
        std::fs::create_dir(&path).expect("created");
        chown(&path, Some(65_534), None).expect("given away");
        let refused = Directory::new(&path, Symlinks::Secure).prepare().expect_err("refused").to_string();
        let step = "; run tbot as that user (sudo -u nobody, or User=nobody in its unit), or choose another directory";
        assert!(refused.contains("belongs to uid 65534") && refused.ends_with(step), "{refused}");
        chown(&path, Some(0), None).expect("taken back");
        Directory::new(&path, Symlinks::Secure).prepare().expect("mended");
    }
}
