//! What the SFTP server says it does becomes audit events.
//!
//! Records come from a process of the user's, so they are bounded in every way: in size by their decoder, in number here.
//! Whoever lists and reads without end has the rest counted; changes that lose something (removing, renaming, linking)
//! are never left out, their authors wait instead. The server in turn waits for whoever does not read.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use exec::sftp::record::{Action, Operation, Record, RecordError, Totals};
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::Scope;
use crate::allowance::Allowance;
use crate::audit::{self, SFTP_SUMMARY};

/// How much is read at once.
const BLOCK: usize = 16 << 10;

/// With so many events that auth does not have yet, operations on files wait; all sessions of a node together have this pace
/// then. An auth that keeps up makes nobody wait, and one that is away leaves room for what else happens on the node.
const BACKLOG: usize = 8_000;

/// See [`BACKLOG`].
pub(crate) fn file_records() -> Allowance {
    Allowance::new(1_000, 1_000, Instant::now())
}

/// What is told of one session, and in what numbers.
struct Allowances {
    looks: Allowance,
    makes: Allowance,
    changes: Allowance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Changes nothing, or failed to.
    Look,
    /// Makes files, or sets what they are like.
    Make,
    /// Loses something, or makes one thing look like another.
    Change,
}

/// One session's record so far.
pub(super) struct Transfers {
    scope: Scope,
    directory: String,
    allowances: Allowances,
    totals: Totals,
    done: BTreeMap<&'static str, u64>,
    left_out: BTreeMap<&'static str, u64>,
}

impl Transfers {
    pub(super) fn new(scope: Scope) -> Self {
        let now = Instant::now();
        let allowances = Allowances {
            looks: Allowance::new(10_000, 50, now),
            makes: Allowance::new(100_000, 500, now),
            changes: Allowance::new(10_000, 1_000, now),
        };
        Self {
            scope,
            directory: String::new(),
            allowances,
            totals: Totals::default(),
            done: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Reports until the server has ended, and the sum at the end.
    pub(super) async fn report(mut self, records: OwnedFd) {
        let outcome = self.follow(records).await;
        if let Err(reason) = &outcome {
            tracing::warn!(sid = %self.scope.id, reason, "the record of a file transfer is broken off");
        }
        self.sum_up(outcome.err());
    }

    async fn follow(&mut self, records: OwnedFd) -> Result<(), String> {
        let mut stream = UnixStream::from_std(StdStream::from(records)).map_err(|error| error.to_string())?;
        let mut buffer = BytesMut::with_capacity(BLOCK);
        loop {
            while let Some((record, taken)) =
                Record::decode(&buffer).map_err(|error: RecordError| error.to_string())?
            {
                buffer.advance(taken);
                self.take(record).await;
            }
            buffer.reserve(BLOCK);
            match stream.read_buf(&mut buffer).await {
                Ok(0) if buffer.is_empty() => return Ok(()),
                Ok(0) => return Err("it ends within a record".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn take(&mut self, record: Record) {
        match record {
            Record::Start { directory } => self.directory = shown(&directory),
            // Never less than before: what was counted was transferred.
            Record::Totals(totals) => self.totals = at_least(self.totals, totals),
            Record::Operation(operation) => {
                *self.done.entry(name(operation.action)).or_default() += 1;
                match self.may_tell(&operation).await {
                    true => self.tell(operation),
                    false => *self.left_out.entry(name(operation.action)).or_default() += 1,
                }
            }
        }
    }

    /// Whether this one is reported, after as long as it has to wait.
    async fn may_tell(&mut self, operation: &Operation) -> bool {
        let now = Instant::now();
        let wait = match class(operation) {
            Class::Look if !self.allowances.looks.take(now) => return false,
            Class::Make if !self.allowances.makes.take(now) => return false,
            Class::Look | Class::Make => Duration::ZERO,
            Class::Change => self.allowances.changes.owe(now),
        };
        let shared = &self.scope.connection.shared;
        let shared = match (shared.host.backlog)() {
            0..BACKLOG => Duration::ZERO,
            _ => shared.file_records.lock().unwrap_or_else(PoisonError::into_inner).owe(now),
        };
        let wait = wait.max(shared);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    fn tell(&self, operation: Operation) {
        let Operation { action, path, target, error } = operation;
        let mut event = self
            .scope
            .event(audit::sftp(action, error.is_some()))
            .with("action", name(action))
            .with("path", shown(&path))
            .with("working_directory", self.directory.as_str());
        if let Some(access) = access(action) {
            event = event.with("access", access);
        }
        if let Some(target) = target {
            event = event.with("target_path", shown(&target));
        }
        if let Some(error) = error {
            event = event.with("error", error);
        }
        self.scope.emit(event);
    }

    fn sum_up(self, broken: Option<String>) {
        let Self { scope, directory, allowances: _, totals, done, left_out } = self;
        let Totals { read, written, opened } = totals;
        let event = scope
            .event(SFTP_SUMMARY)
            .with("working_directory", directory)
            .with("bytes_read", read)
            .with("bytes_written", written)
            .with("files_opened", opened)
            .with("operations", counts(done));
        let event = if left_out.is_empty() { event } else { event.with("left_out", counts(left_out)) };
        scope.emit(match broken {
            Some(reason) => event.with("error", reason),
            None => event,
        });
    }
}

fn class(operation: &Operation) -> Class {
    if operation.error.is_some() {
        return Class::Look;
    }
    match operation.action {
        Action::OpenToRead | Action::Opendir | Action::Readdir => Class::Look,
        Action::OpenToWrite | Action::Mkdir | Action::Setstat | Action::Fsetstat => Class::Make,
        Action::Remove | Action::Rmdir | Action::Rename | Action::Symlink | Action::Link => Class::Change,
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::OpenToRead | Action::OpenToWrite => "open",
        Action::Setstat | Action::Fsetstat => "setstat",
        Action::Opendir => "opendir",
        Action::Readdir => "readdir",
        Action::Remove => "remove",
        Action::Mkdir => "mkdir",
        Action::Rmdir => "rmdir",
        Action::Rename => "rename",
        Action::Symlink => "symlink",
        Action::Link => "link",
    }
}

/// What a file was opened for.
fn access(action: Action) -> Option<&'static str> {
    match action {
        Action::OpenToRead => Some("read"),
        Action::OpenToWrite => Some("write"),
        _ => None,
    }
}

/// A path as an event carries it.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn at_least(before: Totals, now: Totals) -> Totals {
    Totals {
        read: before.read.max(now.read),
        written: before.written.max(now.written),
        opened: before.opened.max(now.opened),
    }
}

fn counts(counts: BTreeMap<&'static str, u64>) -> Map<String, Value> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
}
