//! When a certificate counts.

use crate::Refusal;
use jiff::{SignedDuration, Timestamp};

/// No certificate of ours lives longer, back-dating included: 31 days. Hosts have a week, people and bots
/// hours; this bound stops a mistake, or a signer that was asked for too much.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(31 * 24);

/// `valid_after <= now < valid_before`, exactly: the issuer back-dates by a minute, so a clock that is off by
/// less needs no grace here, and grace at the end is never due.
pub(crate) fn check(now: Timestamp, valid_after: u64, valid_before: u64) -> Result<Timestamp, Refusal> {
    let after = timestamp(valid_after)?;
    let before = timestamp(valid_before)?;
    if before <= after || before.duration_since(after) > MAX_LIFETIME {
        return Err(Refusal::BadValidity);
    }
    if now < after {
        return Err(Refusal::NotYetValid(after));
    }
    if now >= before {
        return Err(Refusal::Expired(before));
    }
    Ok(before)
}

/// Seconds since the epoch; a time beyond the calendar ("for ever") is refused.
pub(crate) fn timestamp(seconds: u64) -> Result<Timestamp, Refusal> {
    let seconds = i64::try_from(seconds).map_err(|_| Refusal::BadValidity)?;
    Timestamp::from_second(seconds).map_err(|_| Refusal::BadValidity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_exact() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        assert!(check(now, 1_000_000, 1_000_001).is_ok());
        let code = |after, before| check(now, after, before).expect_err("refused").code();
        assert_eq!(code(1_000_001, 1_000_100), "not_yet_valid");
        assert_eq!(code(999_000, 1_000_000), "expired");
        assert_eq!(code(0, u64::MAX), "bad_validity");
        assert_eq!(code(0, 1_000_001 + 31 * 86_400), "bad_validity");
        assert_eq!(code(1_000_100, 999_000), "bad_validity");
        assert_eq!(code(1_000_000, 1_000_000), "bad_validity");
    }
}
