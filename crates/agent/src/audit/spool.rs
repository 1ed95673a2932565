//! Events in a file, one JSON line each, until they are acknowledged. Sending one twice does no harm: its id is kept.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::{StateError, sync_directory};

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
    /// How many at the end of `waiting` the file does not have, because the disk was full.
    unwritten: usize,
    /// The bytes of the file up to the end of its last whole line.
    length: u64,
    /// Bytes at the start of the file whose events are acknowledged.
    acknowledged: usize,
}

impl Spool {
    /// Opens the file and reads what waits in it. A last line that was cut by a crash is left out.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let opened = || {
            let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
            let mut spool = Self {
                path: path.to_owned(),
                file,
                waiting: VecDeque::new(),
                bytes: 0,
                unwritten: 0,
                length: 0,
                acknowledged: 0,
            };
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
        let mut lost = 0;
        for entry in entries {
            if self.waiting.len() >= EVENTS || self.bytes + entry.json.len() > BYTES {
                lost += 1;
                continue;
            }
            self.bytes += entry.json.len();
            self.unwritten += 1;
            self.waiting.push_back(entry);
        }
        // On a full disk they wait in memory alone, which is better than not at all, and are written with the next ones.
        (lost, self.write())
    }

    /// Writes what waits in memory alone.
    pub(super) fn write(&mut self) -> io::Result<()> {
        // A line that the last attempt left half written would run into the next one and spoil both.
        self.file.set_len(self.length)?;
        let written = self.waiting.len() - self.unwritten;
        let lines: Vec<u8> = self.waiting.range(written..).flat_map(line).collect();
        self.file.write_all(&lines)?;
        self.file.sync_data()?;
        self.length += lines.len() as u64;
        self.unwritten = 0;
        Ok(())
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
        self.unwritten = self.unwritten.min(self.waiting.len());
        match self.waiting.is_empty() || self.acknowledged > COMPACT {
            true => self.rewrite(),
            false => Ok(()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a restart would find all of it.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn rewrite(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            (self.acknowledged, self.length) = (0, 0);
            return self.file.set_len(0);
        }
        let draft = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        let mut length = 0;
        for entry in &self.waiting {
            let line = line(entry);
            file.write_all(&line)?;
            length += line.len() as u64;
        }
        file.sync_all()?;
        let file = OpenOptions::new().append(true).open(&draft)?;
        std::fs::rename(&draft, &self.path)?;
        (self.file, self.length, self.unwritten, self.acknowledged) = (file, length, 0, 0);
        // Else a crash of the machine could bring the old file back, without what is appended from now on.
        sync_directory(self.path.parent().unwrap_or(Path::new(".")))
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
    fn what_a_full_disk_cut_off_spoils_nothing_and_is_written_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spool");
        let mut spool = Spool::open(&path).expect("opens");
        spool.append(vec![entry(0)]).1.expect("kept");
        // A handle that cannot write stands for the full disk, after half a line.
        let reading = fs::File::open(&path).expect("opens");
        let mut file = std::mem::replace(&mut spool.file, reading);
        spool.append(vec![entry(1)]).1.expect_err("not kept");
        file.write_all(b"{\"id\":\"1\",\"js").expect("written");
        assert_eq!(waiting(&spool), ["0", "1"], "it waits in memory");
        spool.file = file;
        spool.append(vec![entry(2)]).1.expect("kept again");
        drop(spool);
        assert_eq!(waiting(&Spool::open(&path).expect("opens again")), ["0", "1", "2"]);
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
