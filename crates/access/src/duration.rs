//! Durations as people write them in resources and configuration: `1h30m`, `20m`, `never`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A length of time in the notation of the guide; `never` and `0` mean "no limit" and are [`Ttl::NEVER`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ttl(pub Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration; write it like 1h30m, 20m, 45s or never")]
pub struct DurationError {
    text: String,
}

const UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Ttl {
    /// No limit.
    pub const NEVER: Ttl = Ttl(Duration::ZERO);

    /// From whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The limit, or nothing where there is none.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl std::str::FromStr for Ttl {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let wrong = || DurationError { text: text.chars().take(64).collect() };
        if matches!(text, "never" | "0") {
            return Ok(Self::NEVER);
        }
        let mut rest = text;
        let mut total = 0u64;
        while !rest.is_empty() {
            let (nanos, tail) = leading_part(rest).ok_or_else(wrong)?;
            total = total.checked_add(nanos).ok_or_else(wrong)?;
            rest = tail;
        }
        match text.is_empty() {
            true => Err(wrong()),
            false => Ok(Self(Duration::from_nanos(total))),
        }
    }
}

/// Reads one `<number><unit>`; the number may have a fraction (`1.5h`).
fn leading_part(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, tail) = text.split_at(digits);
    let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(letters);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let nanos = whole.checked_mul(*scale)?.checked_add(fraction_of(fraction, *scale)?)?;
    Some((nanos, tail))
}

/// `0.<digits>` of `scale`, without floating point: a printed duration must read back as the same one.
fn fraction_of(digits: &str, scale: u64) -> Option<u64> {
    const KEPT: usize = 18;
    let kept = &digits[..digits.len().min(KEPT)];
    if !digits.bytes().all(|b| b.is_ascii_digit()) || kept.is_empty() {
        return None;
    }
    let numerator: u128 = kept.parse().ok()?;
    let denominator = 10u128.pow(u32::try_from(kept.len()).ok()?);
    u64::try_from(numerator * u128::from(scale) / denominator).ok()
}

impl TryFrom<String> for Ttl {
    type Error = DurationError;
    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<Ttl> for String {
    fn from(ttl: Ttl) -> String {
        ttl.to_string()
    }
}

impl fmt::Display for Ttl {
    /// As Go prints it (`1h30m0s`), which is what the incumbent's files contain; `never` for no limit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("never");
        }
        let seconds = self.0.as_secs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match self.0.subsec_nanos() {
            0 => write!(f, "{rest}s"),
            nanos => write!(f, "{rest}.{}s", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn reads_and_prints_go_durations() {
        for (text, printed) in [
            ("1h", "1h0m0s"),
            ("90m", "1h30m0s"),
            ("1.5h", "1h30m0s"),
            ("45s", "45s"),
            ("1.25s", "1.25s"),
            ("7ns", "0.000000007s"),
            ("never", "never"),
        ] {
            assert_eq!(text.parse::<Ttl>().map(|ttl| ttl.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    /// A limit that printed as `0s` would be read back as no limit.
    #[test]
    fn reads_back_what_it_prints() {
        for nanos in [1, 999, 1_000_001, 59_999_999_999, 3_600_000_000_001, 12_345_678_901_234_567] {
            let ttl = Ttl(std::time::Duration::from_nanos(nanos));
            assert_eq!(ttl.to_string().parse(), Ok(ttl), "{ttl}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in ["", "1", "h", "1x", "-1h", "1h-2m", "1.h", "1.-5h", "1..5h", ".5h", "99999999999999h"] {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }
}
