//! Local time, for the dates in a directory listing and in greetings.

use std::mem::MaybeUninit;

/// A moment in the host's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i64,
    /// 0 to 11.
    pub(crate) month: usize,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    /// 0 is Sunday.
    pub(crate) weekday: usize,
}

/// This many seconds since 1970 as local time; `None` where the calendar ends.
pub(crate) fn local_time(seconds: i64) -> Option<LocalTime> {
    let mut broken_down = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call; the result is null or `broken_down`, filled in.
    let filled = unsafe { libc::localtime_r(&seconds, broken_down.as_mut_ptr()) };
    // SAFETY: see above; `broken_down` lives until the end of this function.
    let tm = unsafe { filled.as_ref() }?;
    Some(LocalTime {
        year: i64::from(tm.tm_year) + 1900,
        month: usize::try_from(tm.tm_mon).ok().filter(|month| *month < 12)?,
        day: u8::try_from(tm.tm_mday).ok()?,
        hour: u8::try_from(tm.tm_hour).ok()?,
        minute: u8::try_from(tm.tm_min).ok()?,
        second: u8::try_from(tm.tm_sec).ok()?,
        weekday: usize::try_from(tm.tm_wday).ok().filter(|day| *day < 7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_seconds_has_a_date_or_none() {
        // Mid-1970, so that no time zone changes the year.
        assert_eq!(local_time(15_000_000).map(|time| time.year), Some(1970));
        assert_eq!(local_time(i64::MAX), None);
        let _ = local_time(i64::MIN);
    }
}
