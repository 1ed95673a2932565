//! Events in a file, one JSON line each, until they are acknowledged. Sending one twice does no harm: its id is kept.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::StateError;

/// The most that waits.
const EVENTS: usize = 20_000;
const BYTES: usize = 32 * 1024 * 1024;
/// With so much of it acknowledged, the file is written anew.
const COMPACT: usize = 4 * 1024 * 1024;

/// An event and the id by which auth knows it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) json: String,
}

/// What waits, in memory and in the file.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    waiting: VecDeque<Entry>,
    bytes: usize,
    /// Bytes at the start of the file whose events are acknowledged.
    acknowledged: usize,
}

impl Spool {
    /// Opens the file and reads what waits in it. A last line that was cut by a crash is left out.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let opened = || {
            let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
            let mut spool =
                Self { path: path.to_owned(), file, waiting: VecDeque::new(), bytes: 0, acknowledged: 0 };
            for line in BufReader::new(&spool.file).split(b'\n') {
                if let Ok(entry) = serde_json::from_slice::<Entry>(&line?) {
                    spool.bytes += entry.json.len();
                    spool.waiting.push_back(entry);
                }
            }
            spool.rewrite()?;
            Ok(spool)
        };
        opened().map_err(|error: io::Error| StateError::new(path, error))
    }

    /// Appends events and makes them durable; how many did not fit.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> (usize, io::Result<()>) {
        let mut lines = Vec::new();
        let mut lost = 0;
        for entry in entries {
            if self.waiting.len() >= EVENTS || self.bytes + entry.json.len() > BYTES {
                lost += 1;
                continue;
            }
            lines.extend(line(&entry));
            self.bytes += entry.json.len();
            self.waiting.push_back(entry);
        }
        // On a full disk they wait in memory alone, which is better than not at all.
        let kept = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        (lost, kept)
    }

    /// The next ones to send: some, and not much more than so many bytes.
    pub(super) fn next(&self, events: usize, bytes: usize) -> Vec<Entry> {
        let mut size = 0;
        let fits = |entry: &&Entry| {
            size += entry.json.len();
            size <= bytes
        };
        let mut next: Vec<_> = self.waiting.iter().take(events).take_while(fits).cloned().collect();
        if next.is_empty() {
            next.extend(self.waiting.front().cloned());
        }
        next
    }

    /// Forgets the first `count`.
    pub(super) fn acknowledge(&mut self, count: usize) -> io::Result<()> {
        for entry in self.waiting.drain(..count.min(self.waiting.len())) {
            self.bytes -= entry.json.len();
            self.acknowledged += line(&entry).len();
        }
        match self.waiting.is_empty() || self.acknowledged > COMPACT {
            true => self.rewrite(),
            false => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn rewrite(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.acknowledged = 0;
            return self.file.set_len(0);
        }
        let draft = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        for entry in &self.waiting {
            file.write_all(&line(entry))?;
        }
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.acknowledged = 0;
        Ok(())
    }
}

fn line(entry: &Entry) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::{EVENTS, Entry, Spool};
    use std::fs;
    use std::io::Write;

    fn entry(number: usize) -> Entry {
        Entry { id: number.to_string(), json: format!("{{\"n\":{number}}}") }
    }

    fn waiting(spool: &Spool) -> Vec<String> {
        spool.next(usize::MAX, usize::MAX).into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn what_is_not_acknowledged_survives() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spool");
        let mut spool = Spool::open(&path).expect("opens");
        let (lost, kept) = spool.append((0..5).map(entry).collect());
        assert_eq!((lost, kept.is_ok()), (0, true));
        spool.acknowledge(2).expect("acknowledged");
        drop(spool);
        // Acknowledged lines may be sent again, never the other way round.
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("opens");
        file.write_all(b"{\"id\":\"cut").expect("written");
        let mut spool = Spool::open(&path).expect("opens again");
        assert_eq!(waiting(&spool), ["0", "1", "2", "3", "4"]);
        let (_, kept) = spool.append(vec![entry(5)]);
        kept.expect("kept");
        spool.acknowledge(6).expect("acknowledged");
        assert_eq!(fs::metadata(&path).expect("there").len(), 0);
        assert!(Spool::open(&path).expect("opens").is_empty());
    }

    #[test]
    fn a_full_spool_keeps_the_oldest() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::open(&directory.path().join("spool")).expect("opens");
        let (lost, _) = spool.append((0..EVENTS + 7).map(entry).collect());
        assert_eq!(lost, 7);
        assert_eq!(spool.next(1, 1)[0], entry(0), "one at least, however large");
        assert_eq!(spool.next(3, usize::MAX).len(), 3);
    }
}
