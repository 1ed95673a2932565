//! Whether an account is one that can log in, asked of the host's name services without running anything as the user.

use std::process::Stdio;
use std::time::Duration;

use access::Login;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::Forbidden;

/// How long name services may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// `getent`'s exit code for a name that is not there.
const NOT_FOUND: i32 = 2;
/// Field of `passwd(5)` with the shell, and of `shadow(5)` with the password and the day of expiry.
const SHELL: usize = 6;
const PASSWORD: usize = 1;
const EXPIRY: usize = 7;
const SECONDS_OF_A_DAY: i64 = 86_400;

/// The answer for one connection's account, found when it is first wanted.
#[derive(Debug, Default)]
pub(crate) struct AccountCheck(OnceCell<Result<(), Forbidden>>);

impl AccountCheck {
    pub(crate) async fn check(&self, login: &Login) -> Result<(), Forbidden> {
        self.0.get_or_init(|| look_up(login)).await.clone()
    }
}

async fn look_up(login: &Login) -> Result<(), Forbidden> {
    let account = entry("passwd", login).await?.ok_or_else(|| unusable(login, "does not exist"))?;
    usable_shell(&account, login)?;
    // Readable for root only; where it is not, the account database cannot say more.
    match entry("shadow", login).await {
        Ok(Some(shadow)) => usable_shadow(&shadow, login, jiff::Timestamp::now().as_second()),
        Ok(None) | Err(_) => Ok(()),
    }
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

fn usable_shell(account: &str, login: &Login) -> Result<(), Forbidden> {
    let shell = account.split(':').nth(SHELL).unwrap_or_default();
    match shell.rsplit('/').next() {
        Some("nologin" | "false") => Err(unusable(login, "has no login shell")),
        _ => Ok(()),
    }
}

fn usable_shadow(shadow: &str, login: &Login, now: i64) -> Result<(), Forbidden> {
    let fields: Vec<&str> = shadow.split(':').collect();
    // "!" before a hash is how passwd(1) and usermod(8) lock an account; "*" only means that no password fits.
    if fields.get(PASSWORD).is_some_and(|password| password.starts_with("!") && password.len() > 2) {
        return Err(unusable(login, "is locked"));
    }
    let expiry = fields.get(EXPIRY).and_then(|day| day.parse::<i64>().ok());
    match expiry {
        Some(day) if day >= 0 && now / SECONDS_OF_A_DAY >= day => Err(unusable(login, "has expired")),
        _ => Ok(()),
    }
}

fn unusable(login: &Login, why: &str) -> Forbidden {
    Forbidden::new("account_unusable", format!("account {login} {why} on this host"))
}

#[cfg(test)]
mod tests {
    use super::{AccountCheck, Login, usable_shadow, usable_shell};

    fn login(name: &str) -> Login {
        Login::new(name).expect("a login")
    }

    #[tokio::test]
    async fn only_accounts_that_can_log_in() {
        for (name, usable) in [("root", true), ("nobody", false), ("no-such-account", false)] {
            let outcome = AccountCheck::default().check(&login(name)).await;
            assert_eq!(outcome.is_ok(), usable, "{name}: {outcome:?}");
        }
    }

    #[test]
    fn locks_and_expiries_of_the_account_database_count() {
        let login = login("a");
        for (line, usable) in [
            ("a:$6$hash:19000:0:99999:7:::", true),
            ("a:*:19000:0:99999:7:::", true),
            ("a:!:19000:0:99999:7:::", true),
            ("a:!*:19000:0:99999:7:::", true),
            ("a:!$6$hash:19000:0:99999:7:::", false),
            ("a:*:19000:0:99999:7::20000:", true),
            ("a:*:19000:0:99999:7::19999:", false),
            ("a:*:19000:0:99999:7::1:", false),
            ("", true),
        ] {
            assert_eq!(usable_shadow(line, &login, 19_999 * 86_400).is_ok(), usable, "{line}");
        }
        for (line, usable) in
            [("a:x:1:1::/:/bin/sh", true), ("a:x:1:1::/:", true), ("a:x:1:1::/:/usr/sbin/nologin", false)]
        {
            assert_eq!(usable_shell(line, &login).is_ok(), usable, "{line}");
        }
    }
}
