//! Step 5: the host's own records of logins at a terminal, as `who`, `last` and `lastlog` read them. Best effort: a host
//! that does not keep one of the files does not get it, and no session fails over them.

use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{geteuid, getpid};

use super::account::User;
use super::stdio::Terminal;
use crate::sys::records::{Record, Who, write};

const LASTLOG: &str = "/var/log/lastlog";
/// The fields of an entry of `lastlog`: when, at which terminal, from where. Architectures that never had 32-bit programs
/// have the wider time.
const TIME: usize = if cfg!(any(
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "s390x",
    target_arch = "loongarch64"
)) {
    8
} else {
    4
};
const LINE: usize = 32;
const HOST: usize = 256;

/// A login that is recorded.
pub(super) struct Login {
    /// The terminal without `/dev/`.
    line: String,
    pid: i32,
    /// The one before.
    pub(super) last: Option<Last>,
}

/// An earlier login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    /// In seconds since 1970.
    pub(super) time: i64,
    pub(super) host: String,
}

/// Records that the user has logged in at this terminal. Nothing without root or a terminal that has a name.
pub(super) fn record(user: &User, terminal: Option<&Terminal>, peer: Option<IpAddr>) -> Option<Login> {
    let line = terminal?.name.as_deref()?.strip_prefix("/dev/")?;
    if !geteuid().is_root() {
        return None;
    }
    let (account, time, pid) = (&user.account, now(), getpid().as_raw_pid());
    write(&Record { pid, line, who: Some(Who { user: &account.name, peer }), time });
    let entry = Entry { time: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), line, peer };
    let last = OpenOptions::new().read(true).write(true).open(LASTLOG).ok();
    let last = last.and_then(|file| entry.replace(&file, account.uid));
    Some(Login { line: line.to_owned(), pid, last })
}

impl Login {
    /// Records that it is over.
    pub(super) fn end(&self) {
        write(&Record { pid: self.pid, line: &self.line, who: None, time: now() });
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What `lastlog` keeps of a login.
struct Entry<'a> {
    time: i64,
    line: &'a str,
    peer: Option<IpAddr>,
}

impl Entry<'_> {
    /// Puts this in the place of what the file has of the account, which it returns.
    fn replace(&self, file: &File, uid: u32) -> Option<Last> {
        let mut old = [0; TIME + LINE + HOST];
        let place = u64::from(uid) * old.len() as u64;
        // An account that never logged in can lie beyond the end.
        let last = file.read_exact_at(&mut old, place).ok().and_then(|()| Last::of(&old));
        let _ = file.write_all_at(&self.bytes(), place);
        last
    }

    fn bytes(&self) -> [u8; TIME + LINE + HOST] {
        let mut bytes = [0; TIME + LINE + HOST];
        let (time, rest) = bytes.split_at_mut(TIME);
        let (line, host) = rest.split_at_mut(LINE);
        time.copy_from_slice(&in_its_width(self.time));
        let peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default();
        for (field, text) in [(line, self.line), (host, &peer)] {
            let length = text.len().min(field.len() - 1);
            field[..length].copy_from_slice(&text.as_bytes()[..length]);
        }
        bytes
    }
}

impl Last {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_at_checked(TIME)?;
        // Unsigned where it is 32 bits wide: that lasts until 2106.
        let time = match <[u8; 4]>::try_from(time) {
            Ok(time) => i64::from(u32::from_ne_bytes(time)),
            Err(_) => i64::from_ne_bytes(time.try_into().ok()?),
        };
        let host = rest.get(LINE..)?.split(|byte| *byte == 0).next()?;
        // It is printed on the user's terminal.
        let host = String::from_utf8_lossy(host).replace(char::is_control, "?");
        (time != 0).then_some(Self { time, host })
    }
}

/// The low bytes on hosts that kept the old width.
fn in_its_width(time: i64) -> [u8; TIME] {
    let (whole, low) = (time.to_ne_bytes(), u32::try_from(time).unwrap_or(u32::MAX).to_ne_bytes());
    let source: &[u8] = if TIME == low.len() { &low } else { &whole };
    let mut bytes = [0; TIME];
    bytes.copy_from_slice(source);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_login_is_of_the_account_alone_and_is_replaced() {
        let file = tempfile::tempfile().expect("a file");
        let first = Entry { time: 1_800_000_000, line: "pts/3", peer: Some(IpAddr::from([192, 0, 2, 7])) };
        assert_eq!(first.replace(&file, 1000), None);
        assert_eq!(first.replace(&file, 999), None, "another account");
        let second = Entry { time: 4_000_000_000, peer: None, ..first };
        assert_eq!(second.replace(&file, 1000), Some(Last { time: 1_800_000_000, host: "192.0.2.7".into() }));
        assert_eq!(first.replace(&file, 1000), Some(Last { time: 4_000_000_000, host: String::new() }));
        assert_eq!(file.metadata().expect("there").len(), 1001 * (TIME + LINE + HOST) as u64);
    }

    #[test]
    fn a_host_in_the_file_cannot_drive_a_terminal() {
        let mut bytes = Entry { time: 1, line: "", peer: None }.bytes();
        bytes[TIME + LINE..TIME + LINE + 4].copy_from_slice(b"\x1b]0;");
        assert_eq!(Last::of(&bytes).map(|last| last.host).as_deref(), Some("?]0;"));
        assert_eq!(Last::of(&[0; TIME + LINE + HOST]), None);
    }
}
