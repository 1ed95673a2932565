//! The log as files: one line per event, one file per day, only ever appended to.
//!
//! A line is the event's body with its number and hash added at the end. So the files say by
//! themselves how far they go, and can be checked without the store.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use store::{Record, Seq};

/// What a file's name ends with, after the day.
const SUFFIX: &str = ".events.jsonl";
/// Holds the place reached when the files themselves were taken away.
const CURSOR: &str = "exported";
/// Held by the one writer.
const LOCK: &str = "exported.lock";
/// How much of a file's end is read for its last line: usually little, at most more than the
/// longest line.
const TAILS: [u64; 2] = [16 * 1024, 1024 * 1024];

/// One event as a line, without the line's end.
pub(super) fn line(record: &Record) -> String {
    let body = String::from_utf8_lossy(&record.body);
    let body = body.strip_suffix('}').unwrap_or(&body);
    format!("{body},\"ei\":{},\"hash\":\"{}\"}}", record.seq, record.hash)
}

/// A place in the log as the files know it: the last event and its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Place {
    #[serde(rename = "ei")]
    number: i64,
    hash: String,
}

impl Place {
    pub(super) fn of(record: &Record) -> Self {
        Self { number: record.seq.number(), hash: record.hash.to_string() }
    }

    pub(super) fn seq(&self) -> Seq {
        Seq::new(self.number)
    }
}

/// What a file ends with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastLine {
    /// It has no lines.
    None,
    /// This event.
    At(Place),
    /// Something that is no line of ours.
    Foreign,
}

/// The files of one directory.
pub(super) struct Lines {
    directory: PathBuf,
    open: Option<Day>,
    /// Two writers would write each line twice.
    _lock: File,
}

struct Day {
    date: Date,
    file: File,
    /// The length up to the last whole line.
    length: u64,
}

impl Lines {
    /// Makes the directory, for its owner only, if it is not there, and takes it for this
    /// writer alone.
    pub(super) fn new(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let lock = directory.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock)?;
        lock.try_lock()?;
        Ok(Self { directory, open: None, _lock: lock })
    }

    /// The days for which there is a file.
    pub(super) fn days(&self) -> io::Result<Vec<Date>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            days.extend(name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<Date>().ok()));
        }
        Ok(days)
    }

    /// Cuts off a line that was begun and not finished, and reads the last whole one.
    pub(super) fn repair(&self, day: Date) -> io::Result<LastLine> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.path(day))?;
        let length = file.metadata()?.len();
        let mut tail = Vec::new();
        for window in TAILS {
            let start = length.saturating_sub(window);
            file.seek(SeekFrom::Start(start))?;
            tail.clear();
            (&mut file).take(window).read_to_end(&mut tail)?;
            let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let before = &tail[..whole.saturating_sub(1)];
            let begin = before.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            if begin.is_none() && start > 0 {
                continue;
            }
            let end = start + whole as u64;
            if end < length {
                file.set_len(end)?;
            }
            let line = &before[begin.unwrap_or(0)..];
            return Ok(match (whole, serde_json::from_slice(line)) {
                (0, _) => LastLine::None,
                (_, Ok(place)) => LastLine::At(place),
                (_, Err(_)) => LastLine::Foreign,
            });
        }
        Ok(LastLine::Foreign)
    }

    /// Puts a file aside whose lines are not those of the store. Nothing is ever removed.
    pub(super) fn set_aside(&self, day: Date, now: Timestamp) -> io::Result<PathBuf> {
        let path = self.path(day);
        let mut aside = path.clone().into_os_string();
        aside.push(format!(".foreign-{}", now.as_microsecond()));
        fs::rename(&path, &aside)?;
        Ok(aside.into())
    }

    /// Appends the first of the records and those after it that go to the same file, and tells
    /// how many that were. After an error none of them counts: what was half written is cut off
    /// by the next attempt.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<usize> {
        let Some(first) = records.first() else { return Ok(0) };
        let date = date_of(first);
        let count = records.iter().take_while(|record| date_of(record) == date).count();
        let text: String = records[..count].iter().map(|record| line(record) + "\n").collect();
        let day = self.day(date)?;
        day.file.set_len(day.length)?;
        day.file.write_all(text.as_bytes())?;
        day.length += text.len() as u64;
        Ok(count)
    }

    /// The day's file. The one before is synced first, so that no line can be lost while a
    /// later one is kept; and a file that was moved away is begun anew.
    fn day(&mut self, date: Date) -> io::Result<&mut Day> {
        let path = self.path(date);
        let day = match self.open.take() {
            Some(day) if day.date == date && is_at(&day.file, &path)? => day,
            previous => {
                if let Some(previous) = previous {
                    previous.file.sync_data()?;
                }
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                let length = file.metadata()?.len();
                Day { date, file, length }
            }
        };
        Ok(self.open.insert(day))
    }

    /// Makes what was appended durable and writes down the place, for the case that the files
    /// are moved away.
    pub(super) fn settle(&mut self, place: &Place) -> io::Result<()> {
        if let Some(day) = &self.open {
            day.file.sync_data()?;
        }
        let new = self.directory.join("exported.new");
        let text = format!("{{\"ei\":{},\"hash\":\"{}\"}}\n", place.number, place.hash);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(new, self.directory.join(CURSOR))
    }

    /// The place that was written down, if it can be read.
    pub(super) fn settled(&self) -> Option<Place> {
        let text = fs::read(self.directory.join(CURSOR)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn path(&self, date: Date) -> PathBuf {
        self.directory.join(format!("{date}{SUFFIX}"))
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
}

fn date_of(record: &Record) -> Date {
    TimeZone::UTC.to_datetime(record.time).date()
}
