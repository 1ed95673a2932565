//! What the helper tells the node: that the session started, or why it did not.
//!
//! The helper's end of the socket closes when the shell is executed. So the whole answer is what was written until then:
//! `Started` and nothing more is a running session; anything ending in `Failed` is none; nothing at all means that the
//! helper died.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cgroup;
use crate::wire::{Reader, WireError, Writer};

/// The most bytes that the helper may say in all.
pub const MAX_BYTES: usize = 16 * 1024;
/// Longer explanations are cut here.
const MAX_DETAIL: usize = 1024;

const TAG_STARTED: u8 = 1;
const TAG_FAILED: u8 = 2;

/// A session that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The session's first process, as the helper sees its own number; it leads its session and process group.
    pub pid: u32,
    /// The account's uid, for the audit log.
    pub uid: u32,
    /// The control group that holds all of the session's processes, where the host lets one be made.
    pub group: Option<PathBuf>,
}

/// A session that did not start. `Display` is what the user may read after `Failed to launch: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What kind of failure, for the audit log and metrics.
    pub kind: FailureKind,
    /// The thing, the reason and the next step.
    pub detail: String,
}

/// The kinds of failure. Each has a fixed number on the wire and a fixed name in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureKind {
    /// The request was not understood.
    BadRequest = 1,
    /// No such account.
    UnknownAccount = 2,
    /// The name service did not answer.
    LookupFailed = 3,
    /// The account exists but this node may not start sessions for it: it does not run as root, or the name is spelled
    /// differently.
    NotAllowed = 4,
    /// The terminal or the pipes could not be given to the user.
    Terminal = 5,
    /// The process could not become the user.
    SwitchUser = 6,
    /// The account's shell is missing or cannot be executed.
    Shell = 7,
    /// The helper ended without an answer.
    HelperDied = 8,
    /// The helper did not answer in time.
    TimedOut = 9,
    /// The account is locked or has expired.
    AccountUnusable = 10,
    /// The host takes no logins but root's now.
    HostClosed = 11,
    /// The host's pluggable authentication modules could not be asked, or did not set the session up.
    Pam = 12,
    /// What is to close the session at its end could not be started.
    Keeper = 13,
}

impl FailureKind {
    /// The stable name for logs and audit events.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownAccount => "unknown_account",
            Self::LookupFailed => "lookup_failed",
            Self::NotAllowed => "not_allowed",
            Self::Terminal => "terminal",
            Self::SwitchUser => "switch_user",
            Self::Shell => "shell",
            Self::HelperDied => "helper_died",
            Self::TimedOut => "timed_out",
            Self::AccountUnusable => "account_unusable",
            Self::HostClosed => "host_closed",
            Self::Pam => "pam",
            Self::Keeper => "keeper",
        }
    }

    const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::UnknownAccount,
        Self::LookupFailed,
        Self::NotAllowed,
        Self::Terminal,
        Self::SwitchUser,
        Self::Shell,
        Self::HelperDied,
        Self::TimedOut,
        Self::AccountUnusable,
        Self::HostClosed,
        Self::Pam,
        Self::Keeper,
    ];

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    pub(crate) fn helper_died() -> Self {
        Self::new(
            FailureKind::HelperDied,
            "session-exec ended without an answer; the node's own log has its last words",
        )
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut end = self.detail.len().min(MAX_DETAIL);
        while !self.detail.is_char_boundary(end) {
            end -= 1;
        }
        let mut out = Writer::default();
        out.u8(TAG_FAILED);
        out.u8(self.kind as u8);
        out.bytes(&self.detail.as_bytes()[..end]);
        out.into_bytes()
    }
}

impl Started {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(TAG_STARTED);
        out.u32(self.pid);
        out.u32(self.uid);
        out.bytes(self.group.as_ref().map_or(&[], |group| group.as_os_str().as_bytes()));
        out.into_bytes()
    }
}

/// The verdict of everything that the helper wrote before its end closed. Total: what is not understood is a failure.
pub fn decode(bytes: &[u8]) -> Result<Started, Failure> {
    if bytes.is_empty() {
        return Err(Failure::helper_died());
    }
    let outcome = decode_all(bytes).unwrap_or_else(|reason| {
        let detail = format!("the answer of session-exec {reason}; is it of the same release as the node?");
        Err(Failure::new(FailureKind::HelperDied, detail))
    });
    outcome.map_err(plain)
}

fn decode_all(bytes: &[u8]) -> Result<Result<Started, Failure>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut tag = reader.u8()?;
    if tag == TAG_STARTED {
        let started = Started { pid: reader.u32()?, uid: reader.u32()?, group: group(reader.bytes()?) };
        match reader.u8() {
            Ok(next) => tag = next,
            Err(_) => return Ok(Ok(started)),
        }
    }
    if tag != TAG_FAILED {
        return Err(WireError::OutOfRange);
    }
    let kind = FailureKind::from_wire(reader.u8()?).ok_or(WireError::OutOfRange)?;
    let detail = reader.text()?.to_owned();
    reader.finish()?;
    Ok(Err(Failure { kind, detail }))
}

/// Anything but a path that session-exec makes is nothing that should ever be written to.
fn group(bytes: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(bytes))).filter(|path| cgroup::is_group(path))
}

/// Names in the text can come from a directory service; nothing in it may drive a terminal or break a log line.
fn plain(failure: Failure) -> Failure {
    let detail =
        failure.detail.chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_DETAIL).collect();
    Failure { detail, ..failure }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const STARTED: Started = Started { pid: 42, uid: 1000, group: None };

    #[test]
    fn started_then_silence_is_a_session() {
        assert_eq!(decode(&STARTED.encode()), Ok(STARTED));
        let grouped = Started { group: Some("/sys/fs/cgroup/postern-1.2-3".into()), ..STARTED };
        assert_eq!(decode(&grouped.encode()), Ok(grouped));
    }

    #[test]
    fn only_groups_of_sessions_are_groups() {
        for path in ["/", "/sys/fs/cgroup", "postern-1.2-3", "/sys/fs/cgroup/postern-1.2-3/..", "/etc/passwd"]
        {
            let odd = Started { group: Some(path.into()), ..STARTED };
            assert_eq!(decode(&odd.encode()), Ok(STARTED), "{path}");
        }
    }

    #[test]
    fn a_failure_wins_over_an_earlier_start() {
        let failure = Failure::new(FailureKind::Shell, "shell \"/bin/gone\" cannot be run");
        assert_eq!(decode(&failure.encode()), Err(failure.clone()));
        assert_eq!(decode(&[STARTED.encode(), failure.encode()].concat()), Err(failure));
    }

    #[test]
    fn silence_and_nonsense_are_failures() {
        for bytes in [&[][..], &[TAG_STARTED, 0], &[TAG_FAILED], &[TAG_FAILED, 99, 0, 0, 0, 0], &[7]] {
            assert_eq!(decode(bytes).expect_err("not an answer").kind, FailureKind::HelperDied);
        }
    }

    #[test]
    fn details_are_cut_and_cannot_drive_a_terminal() {
        let failure = Failure::new(FailureKind::Shell, format!("\u{1b}]0;x\n{}", "é".repeat(2000)));
        let heard = decode(&failure.encode()).expect_err("a failure");
        assert!(heard.detail.starts_with("?]0;x?é") && heard.detail.len() <= MAX_DETAIL);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
