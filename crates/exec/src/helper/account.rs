//! Step 3: the account, and whether this process may start sessions for it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::launch::shell;
use crate::request::SessionRequest;
use crate::standing::{self, Unusable};
use crate::status::{Failure, FailureKind};
use crate::sys::accounts::{self, Account};

/// The shells of people (`shells(5)`).
const SHELLS: &str = "/etc/shells";
/// Shells that keep their accounts from some of what a shell can do, and programs that are none at all.
const RESTRICTED: [&str; 15] = [
    "git-shell",
    "halt",
    "lshell",
    "mysecureshell",
    "rbash",
    "rksh",
    "rksh93",
    "rrsync",
    "rssh",
    "rush",
    "rzsh",
    "scponly",
    "shutdown",
    "sync",
    "true",
];

/// An account with its groups.
pub(super) struct User {
    pub(super) account: Account,
    /// Primary and supplementary groups.
    pub(super) groups: Vec<u32>,
}

/// The user of a request, or why there is none.
pub(super) fn look_up(request: &SessionRequest) -> Result<User, Failure> {
    let login = &request.login;
    let lookup_failed = |error: std::io::Error| {
        let detail = format!("cannot look up account \"{login}\": {error}; check the host's name services");
        Failure::new(FailureKind::LookupFailed, detail)
    };
    let account = accounts::account_by_name(login).map_err(lookup_failed)?.ok_or_else(|| {
        let detail = format!("unknown account \"{login}\"; create it on this host or choose another login");
        Failure::new(FailureKind::UnknownAccount, detail)
    })?;
    check(request, &account)?;
    let shadow = match geteuid().is_root() {
        true => accounts::shadow_by_name(login).map_err(lookup_failed)?,
        // Only root may read it; without root there is one account only, which is in use already.
        false => None,
    };
    let standing = shadow.map_or(Ok(()), |shadow| shadow.check(now()));
    standing.and_then(|()| standing::check_host(account.uid)).map_err(|why| unusable(login, &why))?;
    let groups = accounts::groups_of(&account).map_err(lookup_failed)?;
    Ok(User { account, groups })
}

/// A forward is as good as a login to whatever listens on this host, and SFTP is one; but neither runs the shell, which might
/// say no. So it has to be one that would not: there, as sshd wants it for every login, not made to keep people from something,
/// and in the host's own list, as `pam_shells` wants it.
pub(super) fn check_shell(user: &User) -> Result<(), Failure> {
    let listed = std::fs::read_to_string(SHELLS).ok();
    unfit(shell(&user.account), listed.as_deref()).map_or(Ok(()), |(reason, advice)| {
        let detail = format!("account \"{}\" {reason}; {advice}", user.account.name);
        Err(Failure::new(FailureKind::AccountUnusable, detail))
    })
}

/// What is wrong with a shell, and what to do about it. Without a list every shell is in it.
fn unfit(shell: &str, listed: Option<&str>) -> Option<(String, String)> {
    let another = || "set one with usermod --shell".to_owned();
    let name = shell.rsplit('/').next().unwrap_or(shell);
    if ["nologin", "false"].contains(&name) {
        return Some(("has no login shell on this host".to_owned(), another()));
    }
    if RESTRICTED.contains(&name) {
        let reason = format!("has the restricted shell {shell}, which neither SFTP nor forwards would ask");
        return Some((reason, another()));
    }
    let is_there = shell.starts_with('/')
        && std::fs::metadata(shell).is_ok_and(|found| found.is_file())
        && access(shell, Access::EXEC_OK).is_ok();
    if !is_there {
        return Some((format!("has the shell {shell:?}, which cannot be run on this host"), another()));
    }
    let is_listed =
        |list: &str| list.lines().any(|line| line.split('#').next().unwrap_or_default().trim() == shell);
    if listed.is_some_and(|list| !is_listed(list)) {
        let advice = format!("add it to {SHELLS}, or set another with usermod --shell");
        return Some((format!("has the shell {shell}, which is not in {SHELLS} of this host"), advice));
    }
    None
}

fn check(request: &SessionRequest, account: &Account) -> Result<(), Failure> {
    let refuse = |detail: String| Err(Failure::new(FailureKind::NotAllowed, detail));
    // Some directories ignore case or complete names. The permit is for one spelling: a rule about "root" must not be
    // passed by "ROOT".
    if account.name != request.login {
        return refuse(format!(
            "account \"{}\" is spelled \"{}\" on this host; log in with that name",
            request.login, account.name
        ));
    }
    let own = geteuid();
    if !own.is_root() && own.as_raw() != account.uid {
        return refuse(format!(
            "this node runs as uid {own} and can start sessions for that account only, not for \"{}\"; run it as root to allow others",
            account.name,
            own = own.as_raw()
        ));
    }
    Ok(())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn unusable(login: &str, why: &Unusable) -> Failure {
    let kind = match why {
        Unusable::Locked | Unusable::Expired => FailureKind::AccountUnusable,
        Unusable::HostClosed(_) => FailureKind::HostClosed,
    };
    Failure::new(kind, format!("account \"{login}\" {why}"))
}

#[cfg(test)]
mod tests {
    use super::unfit;

    #[test]
    fn a_shell_that_would_refuse_or_is_not_a_person_s_is_unfit() {
        let list = "# shells\n/bin/sh # the usual\n  /bin/bash\n/usr/bin/rbash\n/bin/none\n#/bin/cat\n";
        for (shell, words) in [
            ("/bin/sh", None),
            ("/usr/sbin/nologin", Some("no login shell")),
            ("/bin/false", Some("no login shell")),
            ("/usr/bin/git-shell", Some("restricted")),
            ("/usr/bin/rbash", Some("restricted")),
            ("/bin/none", Some("cannot be run")),
            ("/etc/passwd", Some("cannot be run")),
            ("/bin", Some("cannot be run")),
            ("sh", Some("cannot be run")),
            ("/bin/cat", Some("add it to /etc/shells")),
        ] {
            let found = unfit(shell, Some(list)).map(|(reason, advice)| format!("{reason}; {advice}"));
            let is_right = words
                .map_or(found.is_none(), |words| found.as_ref().is_some_and(|found| found.contains(words)));
            assert!(is_right, "{shell}: {found:?}");
        }
        assert_eq!(unfit("/bin/cat", None), None, "a host without a list");
    }
}
