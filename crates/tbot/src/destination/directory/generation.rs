//! Which sets of files there are, and how long a superseded one stays for those who may still be reading it.
//!
//! A superseded set goes when its certificates have expired. Before that it goes as soon as nobody can need it: two
//! newer superseded ones exist and it was superseded a minute ago, which is longer than OpenSSH takes from reading
//! its configuration to reading the key. A loop of one-shot runs so costs a few sets, not one for each run.

use super::PARTIAL;
use jiff::Timestamp;
use std::ffi::CStr;

const GENERATION: &str = ".generation-";
/// Superseded sets that stay, however long ago they were superseded.
const KEPT: usize = 2;
/// Seconds that any superseded set stays.
const IN_USE: i64 = 60;
/// However fast sets are written, no more stay than this.
const MOST: usize = 64;

/// One set of files.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub name: String,
    pub number: u64,
    /// Seconds since the epoch.
    keep_until: i64,
    written: i64,
}

impl Generation {
    pub fn new(number: u64, keep_until: Timestamp, now: Timestamp) -> Self {
        let (keep_until, written) = (keep_until.as_second(), now.as_second());
        Self { name: format!("{GENERATION}{number}-{keep_until}-{written}"), number, keep_until, written }
    }

    /// Names without a time of writing are of the first version.
    pub fn parse(name: &CStr) -> Option<Self> {
        let name = name.to_str().ok()?;
        let (number, times) = name.strip_prefix(GENERATION)?.split_once('-')?;
        let (keep_until, written) = times.split_once('-').unwrap_or((times, "0"));
        Some(Self {
            name: name.to_owned(),
            number: number.parse().ok()?,
            keep_until: keep_until.parse().ok()?,
            written: written.parse().ok()?,
        })
    }

    /// Its name while it is being written.
    pub fn partial(&self) -> String {
        format!("{PARTIAL}{}", self.number)
    }
}

/// Those of `before` that need not stay beside `new`, which is in force now.
pub(super) fn superseded(mut before: Vec<Generation>, new: &Generation, now: Timestamp) -> Vec<Generation> {
    let now = now.as_second();
    before.sort_by_key(|generation| std::cmp::Reverse(generation.number));
    // Each was superseded when its successor was written.
    let mut superseded_at = new.written;
    let mut stale = Vec::new();
    for (newer, generation) in before.into_iter().enumerate() {
        let expired = generation.keep_until <= now;
        let unused = newer >= MOST || newer >= KEPT && superseded_at.saturating_add(IN_USE) <= now;
        superseded_at = generation.written;
        if expired || unused {
            stale.push(generation);
        }
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::{Generation, IN_USE, KEPT, MOST, superseded};
    use jiff::Timestamp;

    fn second(at: i64) -> Timestamp {
        Timestamp::from_second(at).expect("a small number of seconds")
    }

    /// How many stay beside the last when one was written at each of these seconds.
    fn stay(written: impl IntoIterator<Item = i64>, life: i64) -> usize {
        let mut all: Vec<Generation> = Vec::new();
        for (at, number) in written.into_iter().zip(1..) {
            let new = Generation::new(number, second(at + life), second(at));
            for gone in superseded(all.clone(), &new, second(at)) {
                all.retain(|generation| generation.number != gone.number);
            }
            all.push(new);
        }
        all.len() - 1
    }

    #[test]
    fn few_sets_stay_however_often_they_are_written() {
        // Every twenty minutes for an hour, as by default: those that are superseded long ago go.
        assert_eq!(stay((0..50).map(|round| round * 1200), 3600), KEPT);
        // A loop that writes every five seconds keeps a minute's worth.
        assert_eq!(stay((0..1000).map(|round| round * 5), 3600), IN_USE as usize / 5);
        // Faster than that, there is a bound.
        assert_eq!(stay((0..1000).map(|_| 7), 3600), MOST);
        // What nobody else reads goes at once.
        assert_eq!(stay((0..100).map(|_| 7), 0), 0);
    }

    #[test]
    fn names_are_read_back() {
        let new = Generation::new(7, second(70), second(10));
        let name = std::ffi::CString::new(new.name.clone()).expect("no NUL");
        let read = Generation::parse(&name).expect("a name");
        assert_eq!((read.number, read.keep_until, read.written), (7, 70, 10));
        let old = Generation::parse(c".generation-7-70").expect("a name");
        assert_eq!((old.number, old.keep_until, old.written), (7, 70, 0));
        for other in [c".generation-x-1", c".generation-1", c".current", c".generation-1-2-x"] {
            assert!(Generation::parse(other).is_none(), "{other:?}");
        }
    }
}
