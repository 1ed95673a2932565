//! Whether an account may be used at all, by the host's own word. One rule for sessions (the helper asks) and for
//! forwards (the node asks): a certificate does not open what the host's administrator has closed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// While this file exists, only root logs in (`nologin(5)`).
const CLOSED: &str = "/etc/nologin";
/// What of its text is shown.
const MAX_TEXT: u64 = 800;
const SECONDS_OF_A_DAY: i64 = 86_400;
/// Fields of a line of `shadow(5)`.
const PASSWORD: usize = 1;
const EXPIRY: usize = 7;

/// Why an account may not be used. `Display` follows the account's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// By `passwd -l` or `usermod -L`.
    #[error("is locked on this host; unlock it with usermod -U")]
    Locked,
    /// Its last day is over.
    #[error("has expired on this host; set another day with chage -E")]
    Expired,
    /// Nobody but root may log in now.
    #[error("cannot log in while {CLOSED} exists on this host: {0}")]
    HostClosed(String),
}

impl Unusable {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked | Self::Expired => "account_unusable",
            Self::HostClosed(_) => "host_closed",
        }
    }
}

/// What the shadow database says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shadow {
    locked: bool,
    /// In days since 1970.
    expiry: Option<i64>,
}

impl Shadow {
    /// From a line of `shadow(5)`; fields that are missing forbid nothing.
    pub fn of_line(line: &str) -> Self {
        let field = |number| line.split(':').nth(number).unwrap_or_default();
        Self::new(field(PASSWORD).as_bytes(), field(EXPIRY).parse().unwrap_or(-1_i64))
    }

    pub(crate) fn new(password: &[u8], expiry: impl Into<i64>) -> Self {
        let expiry = expiry.into();
        Self {
            // "!" before what stands there is how passwd(1) and usermod(8) lock an account, also before a "*"; "*", "!" and
            // "!!" alone only mean that no password fits, and are what accounts have that never had one.
            locked: password.starts_with(b"!") && password.iter().any(|byte| *byte != b'!'),
            expiry: (expiry >= 0).then_some(expiry),
        }
    }

    /// Whether the account may be used at this time, in seconds since 1970.
    pub fn check(&self, now: i64) -> Result<(), Unusable> {
        if self.locked {
            return Err(Unusable::Locked);
        }
        match self.expiry {
            Some(day) if now / SECONDS_OF_A_DAY >= day => Err(Unusable::Expired),
            _ => Ok(()),
        }
    }
}

/// Whether the host takes logins of this uid now.
pub fn check_host(uid: u32) -> Result<(), Unusable> {
    closed_by(Path::new(CLOSED), uid)
}

fn closed_by(file: &Path, uid: u32) -> Result<(), Unusable> {
    if uid == 0 || !std::fs::exists(file).unwrap_or(true) {
        return Ok(());
    }
    let mut text = Vec::new();
    // Whatever it says, and even if it cannot be read: it exists.
    let _ = File::open(file).and_then(|file| file.take(MAX_TEXT).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    // On one line: it goes to logs and audit events too.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Unusable::HostClosed(if words.is_empty() { "only root may".to_owned() } else { words }))
}

#[cfg(test)]
mod tests {
    use super::{Shadow, Unusable, closed_by};

    #[test]
    fn locks_and_expiries_of_the_account_database_count() {
        for (line, outcome) in [
            ("a:$6$hash:19000:0:99999:7:::", Ok(())),
            ("a:*:19000:0:99999:7:::", Ok(())),
            ("a:!:19000:0:99999:7:::", Ok(())),
            ("a:!!:19000:0:99999:7:::", Ok(())),
            ("a:!*:19000:0:99999:7:::", Err(Unusable::Locked)),
            ("a:!!*:19000:0:99999:7:::", Err(Unusable::Locked)),
            ("a:!$6$hash:19000:0:99999:7:::", Err(Unusable::Locked)),
            ("a:*:19000:0:99999:7::20000:", Ok(())),
            ("a:*:19000:0:99999:7::19999:", Err(Unusable::Expired)),
            ("a:*:19000:0:99999:7::1:", Err(Unusable::Expired)),
            ("", Ok(())),
        ] {
            assert_eq!(Shadow::of_line(line).check(19_999 * 86_400), outcome, "{line}");
        }
    }

    #[test]
    fn a_closed_host_lets_root_in_and_says_why_to_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("nologin");
        assert_eq!(closed_by(&file, 1000), Ok(()));
        for (text, why) in [("back at noon\n  or later\n", "back at noon or later"), ("", "only root may")] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(closed_by(&file, 0), Ok(()));
            assert_eq!(closed_by(&file, 1000), Err(Unusable::HostClosed(why.to_owned())));
        }
    }
}
