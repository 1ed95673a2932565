//! Users and groups of this machine, by name or number. Numbers need not belong to anybody: containers have their own.

use std::process::{Command, Stdio};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its primary group, where the user is known.
    pub gid: Option<u32>,
}

/// The user that is called so, or has this number.
pub fn user(name: &str) -> Result<Account, String> {
    let line = entry("passwd", name)?;
    let field = |nth: usize| line.as_deref().and_then(|line| line.split(':').nth(nth)?.parse().ok());
    match (name.parse(), field(2)) {
        (Ok(uid), _) => Ok(Account { uid, gid: field(3) }),
        (Err(_), Some(uid)) => Ok(Account { uid, gid: field(3) }),
        (Err(_), None) => Err(format!("no user is called {name:?} on this machine")),
    }
}

/// What the user with this number is called.
pub fn name(uid: u32) -> Option<String> {
    let line = entry("passwd", &uid.to_string()).ok()??;
    line.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// How to run something as the user with this number.
pub fn as_user(uid: u32) -> String {
    match name(uid) {
        Some(name) => format!("sudo -u {name}, or User={name} in its unit"),
        None => format!("sudo -u '#{uid}', or User={uid} in its unit"),
    }
}

/// The number of the group that is called so, or has this number.
pub fn group(name: &str) -> Result<u32, String> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let line = entry("group", name)?;
    let gid = line.as_deref().and_then(|line| line.split(':').nth(2)?.parse().ok());
    gid.ok_or_else(|| format!("no group is called {name:?} on this machine"))
}

/// The line of a database of accounts. The file is looked at first; `getent` knows those that are elsewhere (nsswitch.conf(5)).
fn entry(database: &str, key: &str) -> Result<Option<String>, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.$@\\".contains(c);
    if key.is_empty() || key.starts_with('-') || !key.chars().all(plain) {
        return Err(format!("{key:?} is no name of a user or group"));
    }
    let number = key.bytes().all(|b| b.is_ascii_digit());
    let text = std::fs::read_to_string(format!("/etc/{database}")).unwrap_or_default();
    let is_it = |line: &&str| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1));
        if number { id == Some(key) } else { name == Some(key) }
    };
    if let Some(line) = text.lines().find(is_it) {
        return Ok(Some(line.to_owned()));
    }
    let mut getent = Command::new("getent");
    let answer = getent.args([database, key]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    // Without it, the file is all there is.
    let Ok(answer) = answer else { return Ok(None) };
    let line = String::from_utf8_lossy(&answer.stdout).lines().next().map(str::to_owned);
    Ok(line.filter(|_| answer.status.success()))
}

#[cfg(test)]
mod tests {
    use super::{Account, group, name, user};

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(user("root"), Ok(Account { uid: 0, gid: Some(0) }));
        assert_eq!(user("0"), Ok(Account { uid: 0, gid: Some(0) }));
        assert_eq!(user("4123456").map(|account| account.uid), Ok(4_123_456), "nobody needs to have it");
        assert_eq!((name(0).as_deref(), name(4_123_456)), (Some("root"), None));
        assert_eq!(group("root"), Ok(0));
        assert_eq!(group("4123456"), Ok(4_123_456));
        for wrong in ["no-such-user-here", "", "-x", "a:b", "a\nb"] {
            assert!(user(wrong).is_err() && group(wrong).is_err(), "{wrong:?}");
        }
    }
}
