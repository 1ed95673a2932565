//! Whether an account is one that can log in, asked of the host's name services without running anything as the user.

use std::process::Stdio;
use std::time::Duration;

use access::Login;
use exec::standing::{self, Shadow, Unusable};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::Forbidden;

/// How long name services may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// `getent`'s exit code for a name that is not there.
const NOT_FOUND: i32 = 2;
/// Fields of `passwd(5)`.
const UID: usize = 2;
const SHELL: usize = 6;

/// The answer for one connection's account, found when it is first wanted.
#[derive(Debug, Default)]
pub(crate) struct AccountCheck(OnceCell<Result<(), Forbidden>>);

impl AccountCheck {
    pub(crate) async fn check(&self, login: &Login) -> Result<(), Forbidden> {
        self.0.get_or_init(|| look_up(login)).await.clone()
    }
}

async fn look_up(login: &Login) -> Result<(), Forbidden> {
    let account = entry("passwd", login).await?;
    // Readable for root only; where it is not, the account database cannot say more.
    let shadow = entry("shadow", login).await?;
    usable(login, account.as_deref(), shadow.as_deref(), jiff::Timestamp::now().as_second())
}

/// One line of a database, by the name services that the host uses.
async fn entry(database: &str, login: &Login) -> Result<Option<String>, Forbidden> {
    let failed = |reason: String| {
        Forbidden::new("account_lookup_failed", format!("account {login} cannot be looked up: {reason}"))
    };
    let output = Command::new("getent")
        .args(["--", database, login.as_str()])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/local/bin")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .map_err(|_| failed("the host's name services do not answer".to_owned()))?
        .map_err(|error| failed(format!("getent cannot be run: {error}")))?;
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)),
        Some(NOT_FOUND) => Ok(None),
        _ => Err(failed(format!("getent failed with {}", output.status))),
    }
}

fn usable(login: &Login, account: Option<&str>, shadow: Option<&str>, now: i64) -> Result<(), Forbidden> {
    let account = account.ok_or_else(|| unusable(login, "does not exist on this host"))?;
    let field = |number| account.split(':').nth(number).unwrap_or_default();
    if matches!(field(SHELL).rsplit('/').next(), Some("nologin" | "false")) {
        return Err(unusable(login, "has no login shell on this host"));
    }
    let closed = |why: Unusable| Forbidden::new(why.code(), format!("account {login} {why}"));
    shadow.map_or(Ok(()), |line| Shadow::of_line(line).check(now)).map_err(closed)?;
    // What is not a number is nobody's, and so not root's.
    standing::check_host(field(UID).parse().unwrap_or(u32::MAX)).map_err(closed)
}

fn unusable(login: &Login, why: &str) -> Forbidden {
    Forbidden::new("account_unusable", format!("account {login} {why}"))
}

#[cfg(test)]
mod tests {
    use super::{Login, usable};

    #[test]
    fn only_accounts_that_can_log_in() {
        let login = Login::new("a").expect("a login");
        let open = Some("a:*:19000:0:99999:7:::");
        for (account, shadow, words) in [
            (Some("a:x:0:1::/:/bin/sh"), open, None),
            (Some("a:x:0:1::/:"), None, None),
            (None, None, Some("account a does not exist on this host")),
            (Some("a:x:0:1::/:/usr/sbin/nologin"), open, Some("account a has no login shell on this host")),
            (Some("a:x:0:1::/:/bin/false"), open, Some("account a has no login shell on this host")),
            (Some("a:x:0:1::/:/bin/sh"), Some("a:!$6$hash:19000:0:99999:7:::"), Some("account a is locked")),
            (Some("a:x:0:1::/:/bin/sh"), Some("a:*:19000:0:99999:7::19999:"), Some("account a has expired")),
        ] {
            let outcome = usable(&login, account, shadow, 19_999 * 86_400);
            let said = outcome.err().map(|forbidden| forbidden.words);
            let fits = said.as_deref().is_some_and(|said| words.is_some_and(|words| said.starts_with(words)));
            assert!(fits || (said.is_none() && words.is_none()), "{account:?}: {said:?}");
        }
    }
}
