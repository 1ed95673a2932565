//! The host's records of who is logged in (`utmp`) and who was (`wtmp`), written by the C library because programs such
//! as `who` and `last` read them through it. Best effort: a host without these files does not want them.

use std::ffi::{CStr, c_char, c_short};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Where glibc's own `_PATH_WTMP` points.
const WTMP: &CStr = c"/var/log/wtmp";

/// One line of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The session's first process.
    pub(crate) pid: i32,
    /// The terminal without `/dev/`.
    pub(crate) line: &'a str,
    /// Who logged in, and from where; none at the logout.
    pub(crate) who: Option<Who<'a>>,
    /// Since 1970.
    pub(crate) time: Duration,
}

/// Whose login a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who<'a> {
    pub(crate) user: &'a str,
    pub(crate) peer: Option<IpAddr>,
}

/// Writes one record to both files.
pub(crate) fn write(record: &Record<'_>) {
    let entry = entry(record);
    // SAFETY: takes nothing and rewinds the C library's own descriptor; this process has one thread.
    unsafe { libc::setutxent() };
    // SAFETY: `entry` is a whole, initialised entry; the C library copies it.
    unsafe { libc::pututxline(&entry) };
    // SAFETY: takes nothing and closes the C library's own descriptor.
    unsafe { libc::endutxent() };
    // SAFETY: the path is NUL-terminated and `entry` is a whole, initialised entry; both are only read.
    unsafe { updwtmpx(WTMP.as_ptr(), &entry) };
}

unsafe extern "C" {
    /// The libc crate does not have it; glibc and musl do.
    fn updwtmpx(file: *const c_char, entry: *const libc::utmpx);
}

fn entry(record: &Record<'_>) -> libc::utmpx {
    // SAFETY: the structure is integers and arrays of integers, for all of which zero is a value.
    let mut entry: libc::utmpx = unsafe { MaybeUninit::zeroed().assume_init() };
    entry.ut_pid = record.pid;
    fill(&mut entry.ut_line, record.line);
    fill(&mut entry.ut_id, id(record.line));
    // The fields are 32 bits wide on some architectures.
    entry.ut_tv.tv_sec = record.time.as_secs().try_into().unwrap_or_default();
    entry.ut_tv.tv_usec = record.time.subsec_micros().try_into().unwrap_or_default();
    let Some(Who { user, peer }) = &record.who else {
        entry.ut_type = DEAD_PROCESS;
        return entry;
    };
    entry.ut_type = USER_PROCESS;
    fill(&mut entry.ut_user, user);
    if let Some(peer) = peer {
        fill(&mut entry.ut_host, &peer.to_string());
        entry.ut_addr_v6 = address(*peer);
    }
    entry
}

const USER_PROCESS: c_short = libc::USER_PROCESS;
const DEAD_PROCESS: c_short = libc::DEAD_PROCESS;

/// What makes a terminal's entry its own: the end of its name, as every login program has it.
fn id(line: &str) -> &str {
    line.char_indices().rev().nth(3).map_or(line, |(start, _)| &line[start..])
}

/// An IPv4 address is in the first word, an IPv6 one in all four, in network order.
fn address(peer: IpAddr) -> [i32; 4] {
    let words = |address: Ipv6Addr| {
        let bytes = address.octets();
        [0, 4, 8, 12].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
    };
    match peer {
        IpAddr::V4(address) => [i32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => words(address),
    }
}

/// As much of a text as there is room for. A full field has no NUL, as `utmp(5)` says.
fn fill(field: &mut [c_char], text: &str) {
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_fields_that_who_and_last_read() {
        let who = Some(Who { user: "tess", peer: Some(IpAddr::from([192, 0, 2, 7])) });
        let record = Record { pid: 42, line: "pts/13", who, time: Duration::from_micros(5_000_007) };
        let full = entry(&record);
        let text = |field: &[c_char]| -> String {
            field.iter().take_while(|c| **c != 0).map(|c| char::from(c.to_ne_bytes()[0])).collect()
        };
        assert_eq!((full.ut_type, full.ut_pid), (USER_PROCESS, 42));
        assert_eq!((text(&full.ut_line), text(&full.ut_id)), ("pts/13".to_owned(), "s/13".to_owned()));
        assert_eq!((text(&full.ut_user), text(&full.ut_host)), ("tess".to_owned(), "192.0.2.7".to_owned()));
        assert_eq!(full.ut_addr_v6, [i32::from_ne_bytes([192, 0, 2, 7]), 0, 0, 0]);
        assert_eq!((full.ut_tv.tv_sec, full.ut_tv.tv_usec), (5, 7));
        let end = entry(&Record { who: None, ..record });
        assert_eq!(
            (end.ut_type, text(&end.ut_user), text(&end.ut_id)),
            (DEAD_PROCESS, String::new(), "s/13".to_owned())
        );
    }

    #[test]
    fn names_that_do_not_fit_are_cut() {
        let long = "x".repeat(1000);
        let record =
            Record { pid: 1, line: &long, who: Some(Who { user: &long, peer: None }), time: Duration::MAX };
        assert!(entry(&record).ut_user.iter().all(|c| *c != 0));
        assert_eq!(id("1"), "1");
    }
}
