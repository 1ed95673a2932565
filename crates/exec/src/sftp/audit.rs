//! Which requests are recorded, and how their records leave: before the reply that tells the client.

use std::io::{self, Write};

use super::handles::Handles;
use super::protocol::{self, Request};
use super::record::{Action, Operation, Record, Totals, cut};
use super::status::Refusal;

/// How much may be transferred before the node hears of it, should nothing else be told.
const TELL_AT: u64 = 16 << 20;

/// What happened since the last flush, and in sum.
#[derive(Default)]
pub(super) struct Audit {
    waiting: Vec<u8>,
    totals: Totals,
    told: Totals,
}

/// An operation that is about to be tried.
pub(super) struct Attempt {
    action: Action,
    path: Vec<u8>,
    target: Option<Vec<u8>>,
}

impl Audit {
    /// One whose first record says where relative paths start.
    pub(super) fn new(directory: &[u8]) -> Self {
        let mut audit = Self::default();
        Record::Start { directory: directory.to_vec() }.encode(&mut audit.waiting);
        audit
    }

    pub(super) fn read(&mut self, bytes: u64) {
        self.totals.read = self.totals.read.saturating_add(bytes);
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.totals.written = self.totals.written.saturating_add(bytes);
    }

    /// Takes down how an attempt went.
    pub(super) fn note(&mut self, attempt: Attempt, outcome: &Result<(), Refusal>) {
        let Attempt { action, path, target } = attempt;
        let error = outcome.as_ref().err().map(|refusal| refusal.message.to_string());
        let opens = matches!(action, Action::OpenToRead | Action::OpenToWrite);
        if opens && error.is_none() {
            self.totals.opened = self.totals.opened.saturating_add(1);
        }
        Record::Operation(Operation { action, path, target, error }).encode(&mut self.waiting);
    }

    /// Writes what waits, with the sums if they are due or if this is the `last` time.
    pub(super) fn flush(&mut self, records: &mut impl Write, last: bool) -> io::Result<()> {
        let moved = |totals: Totals| totals.read.saturating_add(totals.written);
        let due = moved(self.totals) - moved(self.told) >= TELL_AT;
        if last || due || (!self.waiting.is_empty() && self.totals != self.told) {
            Record::Totals(self.totals).encode(&mut self.waiting);
            self.told = self.totals;
        }
        if !self.waiting.is_empty() {
            records.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }
}

impl Attempt {
    /// What of this request is recorded, if anything.
    pub(super) fn of(request: &Request<'_>, handles: &Handles) -> Option<Self> {
        let one = |action, path: &[u8]| Some(Self { action, path: cut(path).to_vec(), target: None });
        let two = |action, path: &[u8], target: &[u8]| {
            Some(Self { action, path: cut(path).to_vec(), target: Some(cut(target).to_vec()) })
        };
        match request {
            Request::Open { path, flags, .. } if protocol::changes(*flags) => one(Action::OpenToWrite, path),
            Request::Open { path, .. } => one(Action::OpenToRead, path),
            Request::Setstat { path, .. } | Request::Lsetstat { path, .. } => one(Action::Setstat, path),
            Request::Fsetstat { handle, .. } => one(Action::Fsetstat, handles.path(handle)),
            Request::Opendir { path } => one(Action::Opendir, path),
            Request::Remove { path } => one(Action::Remove, path),
            Request::Mkdir { path, .. } => one(Action::Mkdir, path),
            Request::Rmdir { path } => one(Action::Rmdir, path),
            Request::Rename { from, to } | Request::PosixRename { from, to } => two(Action::Rename, from, to),
            Request::Symlink { target, link } => two(Action::Symlink, link, target),
            Request::Hardlink { from, to } => two(Action::Link, from, to),
            _ => None,
        }
    }

    /// A directory that could not be read, which is recorded only then.
    pub(super) fn readdir(path: &[u8]) -> Self {
        Self { action: Action::Readdir, path: cut(path).to_vec(), target: None }
    }
}
