//! Step 3: the account, and whether this process may start sessions for it.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::geteuid;

use crate::request::SessionRequest;
use crate::standing::{self, Unusable};
use crate::status::{Failure, FailureKind};
use crate::sys::accounts::{self, Account};

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

/// A forward is as good as a login to whatever listens on this host, and SFTP is one; but neither runs a shell that would
/// say no, as sshd does for its `sftp-server`.
pub(super) fn check_shell(user: &User) -> Result<(), Failure> {
    let Account { name, shell, .. } = &user.account;
    match shell.rsplit('/').next() {
        Some("nologin" | "false") => {
            let detail =
                format!("account \"{name}\" has no login shell on this host; set one with usermod --shell");
            Err(Failure::new(FailureKind::AccountUnusable, detail))
        }
        _ => Ok(()),
    }
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
