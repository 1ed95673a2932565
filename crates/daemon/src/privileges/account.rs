//! The account that the daemon becomes.
//!
//! A local one, from `/etc/passwd`: the daemon must start without a directory service, and must not ask one as root.

use std::path::Path;

use crate::config::Services;

const PASSWD: &str = "/etc/passwd";
/// Where systemd notes the users that it makes up.
const DYNAMIC: &str = "/run/systemd/dynamic-uid";

/// The account when none is configured.
pub const DEFAULT: &str = "postern";

/// User and group where there is no account of that name, so that the defaults work on a machine as it is: the first one of
/// a process with auth in it, then that of one with a proxy, then that of a node alone. Processes of one host that were
/// parted so that one does not fall with the other are so different users. Within the range that systemd keeps for users
/// without an account (61184 to 65519).
pub const WITHOUT_ACCOUNT: [u32; 3] = [64_317, 64_318, 64_319];

/// The number for a process of these services, where there is no account.
#[must_use]
pub fn number(services: &Services) -> u32 {
    let [auth, proxy, node] = WITHOUT_ACCOUNT;
    match services {
        Services { auth: Some(_), .. } => auth,
        Services { proxy: Some(_), .. } => proxy,
        _ => node,
    }
}

/// Who the daemon becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name; nothing where it is only a number.
    pub name: Option<String>,
    /// The user.
    pub uid: u32,
    /// Its primary group; it gets no other.
    pub gid: u32,
}

/// Why there is nobody to become.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The configured account does not exist.
    #[error(
        "postern.user: there is no account {0:?} in /etc/passwd; make it with: useradd --system --shell /usr/sbin/nologin {0}"
    )]
    Unknown(String),
    /// The configured account is root.
    #[error("postern.user: {0:?} is root, and the daemon does not stay root; name an account of its own")]
    Root(String),
    /// The number that is used without an account is somebody else's.
    #[error(
        "the daemon runs as user {0} where there is no account \"postern\", and {1} has that number; make the account with: \
         useradd --system --shell /usr/sbin/nologin postern"
    )]
    Taken(u32, String),
    /// The accounts cannot be read.
    #[error("cannot read {PASSWD}: {0}")]
    Read(std::io::Error),
}

impl Account {
    /// The account of this name, or the default one, or this number.
    ///
    /// # Errors
    /// When it does not exist or cannot be used.
    pub fn find(name: Option<&str>, number: u32) -> Result<Self, AccountError> {
        let passwd = match std::fs::read_to_string(PASSWD) {
            Ok(passwd) => passwd,
            // A container may have none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(AccountError::Read(error)),
        };
        Self::in_passwd(&passwd, name, number).and_then(|account| match account.name {
            None if Path::new(DYNAMIC).join(number.to_string()).exists() => {
                Err(AccountError::Taken(number, "a service of systemd".to_owned()))
            }
            _ => Ok(account),
        })
    }

    fn in_passwd(passwd: &str, name: Option<&str>, number: u32) -> Result<Self, AccountError> {
        let wanted = name.unwrap_or(DEFAULT);
        match accounts(passwd).find(|account| account.name.as_deref() == Some(wanted)) {
            Some(found) if found.uid == 0 || found.gid == 0 => Err(AccountError::Root(wanted.to_owned())),
            Some(found) => Ok(found),
            None if name.is_some() => Err(AccountError::Unknown(wanted.to_owned())),
            None => Self::without_account(passwd, number),
        }
    }

    fn without_account(passwd: &str, number: u32) -> Result<Self, AccountError> {
        match accounts(passwd).find(|account| account.uid == number) {
            Some(other) => {
                Err(AccountError::Taken(number, format!("account {:?}", other.name.unwrap_or_default())))
            }
            None => Ok(Self { name: None, uid: number, gid: number }),
        }
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.uid, self.gid),
            None => write!(f, "{}:{}", self.uid, self.gid),
        }
    }
}

/// The lines that are accounts; passwd(5).
fn accounts(passwd: &str) -> impl Iterator<Item = Account> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { name: Some(name.to_owned()), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::{Account, AccountError, WITHOUT_ACCOUNT, number};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# postern:x:1:1::/:\n+nis::7:7:::\nbroken:x:y:1\n\
                          toor:x:0:5::/:/bin/sh\nwheel:x:5:0::/:/bin/sh\nother:x:500:501:Other:/:/bin/false\n";

    #[test]
    fn the_configured_account_must_exist_and_not_be_root() {
        let found = Account::in_passwd(PASSWD, Some("other"), 1).expect("is there");
        assert_eq!((found.uid, found.gid, found.to_string().as_str()), (500, 501, "other (500:501)"));
        for name in ["root", "toor", "wheel"] {
            let refused = Account::in_passwd(PASSWD, Some(name), 1);
            assert!(matches!(refused, Err(AccountError::Root(_))), "{name}");
        }
        for name in ["postern", "broken", "nobody", "", "# postern"] {
            let refused = Account::in_passwd(PASSWD, Some(name), 1).expect_err("is not there").to_string();
            assert!(
                refused.contains(&format!("useradd --system --shell /usr/sbin/nologin {name}")),
                "{refused}"
            );
        }
    }

    #[test]
    fn without_an_account_a_number_serves_that_is_nobody_elses() {
        for uid in WITHOUT_ACCOUNT {
            let number = Account { name: None, uid, gid: uid };
            assert_eq!(Account::in_passwd(PASSWD, None, uid).expect("a number"), number);
            let with = format!("{PASSWD}postern:x:998:997::/nonexistent:/usr/sbin/nologin\n");
            assert_eq!(Account::in_passwd(&with, None, uid).expect("the account").uid, 998);
            let taken = format!("{PASSWD}x:x:{uid}:1::/:\n");
            assert!(matches!(Account::in_passwd(&taken, None, uid), Err(AccountError::Taken(..))));
            assert!((61_184..=65_519).contains(&uid));
        }
    }

    #[test]
    fn processes_that_were_parted_have_numbers_of_their_own() {
        let of = |auth: &str, proxy: &str, node: &str| {
            let text = format!(
                "version: v3\npostern: {{auth_server: a.example, auth_token: a-token-of-the-cluster}}\n\
                 auth_service: {{enabled: {auth}, cluster_name: a.example}}\nproxy_service: {{enabled: {proxy}}}\n\
                 ssh_service: {{enabled: {node}}}\n"
            );
            let text = if auth == "yes" {
                text.replace("auth_server: a.example, auth_token: a-token-of-the-cluster", "")
            } else {
                text
            };
            number(&crate::config::parse("f", &text, "host").expect("valid").services)
        };
        assert_eq!(of("yes", "yes", "yes"), of("yes", "no", "no"));
        assert_eq!(of("no", "yes", "yes"), of("no", "yes", "no"));
        let parted = [of("yes", "no", "no"), of("no", "yes", "no"), of("no", "no", "yes")];
        assert_eq!(parted, WITHOUT_ACCOUNT);
    }
}
