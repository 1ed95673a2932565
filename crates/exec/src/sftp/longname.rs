//! The long form of a name in a listing: what `ls -l` prints, which clients show as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustix::fs::{FileType, Stat};

use crate::sys::accounts;
use crate::sys::clock::{LocalTime, local_time};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Older files show their year instead of the time of day: half a year of 365.2425 days.
const RECENT_SECONDS: u64 = 15_778_476;
/// More names than this are not kept; a directory with more owners asks again.
const MAX_NAMES: usize = 4096;
/// No account has a longer name.
const MAX_NAME: usize = 128;

/// Names of users and groups, asked for once.
#[derive(Default)]
pub(super) struct Owners {
    users: Names,
    groups: Names,
}

type Names = BTreeMap<u32, Option<String>>;

impl Owners {
    /// The name of a user, if there is one that can be shown.
    pub(super) fn user(&mut self, uid: u32) -> Option<&str> {
        cached(&mut self.users, uid, || Some(accounts::account_by_uid(uid).ok()??.name))
    }

    /// The name of a group, if there is one that can be shown.
    pub(super) fn group(&mut self, gid: u32) -> Option<&str> {
        cached(&mut self.groups, gid, || accounts::group_name(gid).ok()?)
    }
}

/// A name that could break columns or a terminal is none.
fn cached(names: &mut Names, id: u32, ask: impl FnOnce() -> Option<String>) -> Option<&str> {
    if names.len() >= MAX_NAMES {
        names.clear();
    }
    let plain = |name: &String| {
        !name.is_empty()
            && name.len() <= MAX_NAME
            && !name.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    names.entry(id).or_insert_with(|| ask().filter(plain)).as_deref()
}

/// A name, or the number where there is none.
fn shown(name: Option<&str>, id: u32) -> Cow<'_, str> {
    name.map_or_else(|| id.to_string().into(), Cow::Borrowed)
}

pub(super) fn longname(stat: &Stat, name: &[u8], owners: &mut Owners, now: u64) -> Vec<u8> {
    let user = shown(owners.user(stat.st_uid), stat.st_uid).into_owned();
    let group = shown(owners.group(stat.st_gid), stat.st_gid);
    let columns = format!(
        "{} {:>4} {user:<8} {group:<8} {:>8} {} ",
        mode(stat.st_mode),
        stat.st_nlink,
        stat.st_size,
        date(stat.st_mtime, now),
    );
    [columns.as_bytes(), name].concat()
}

fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::BlockDevice => 'b',
        FileType::CharacterDevice => 'c',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        _ => '-',
    };
    let class = |shift: u32, special: bool, letter: char| {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, special) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    let classes = [
        class(6, mode & 0o4000 != 0, 's'),
        class(3, mode & 0o2000 != 0, 's'),
        class(0, mode & 0o1000 != 0, 't'),
    ];
    std::iter::once(kind).chain(classes.into_iter().flatten()).collect()
}

fn date(modified: i64, now: u64) -> String {
    let Some(LocalTime { year, month, day, hour, minute, .. }) = local_time(modified) else {
        return "?".repeat(12);
    };
    let month = MONTHS[month];
    let recent =
        u64::try_from(modified).is_ok_and(|modified| modified <= now && now - modified < RECENT_SECONDS);
    if recent {
        format!("{month} {day:>2} {hour:02}:{minute:02}")
    } else {
        format!("{month} {day:>2}  {year:>4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_prints_them() {
        for (bits, text) in [
            (0o100644, "-rw-r--r--"),
            (0o40755, "drwxr-xr-x"),
            (0o120777, "lrwxrwxrwx"),
            (0o104755, "-rwsr-xr-x"),
            (0o102640, "-rw-r-S---"),
            (0o41777, "drwxrwxrwt"),
            (0o41776, "drwxrwxrwT"),
            (0o20620, "crw--w----"),
        ] {
            assert_eq!(mode(bits), text);
        }
    }

    #[test]
    fn old_and_future_files_show_their_year() {
        let now = 1_700_000_000;
        let year = |modified| !date(modified, now).contains(':');
        assert!(!year(1_699_999_000) && year(1_600_000_000) && year(1_700_000_001) && year(-5));
        assert_eq!(date(i64::MAX, now).len(), 12);
        assert_eq!(date(1_699_999_000, now).len(), 12);
        assert_eq!(date(1_600_000_000, now).len(), 12);
    }

    #[test]
    fn an_unknown_owner_is_a_number() {
        let mut owners = Owners::default();
        assert_eq!(owners.user(0), Some("root"));
        assert_eq!(owners.group(0), Some("root"));
        let number = u32::MAX - 9;
        assert_eq!(shown(owners.user(number), number), number.to_string());
        assert_eq!(owners.group(number), None);
    }
}
