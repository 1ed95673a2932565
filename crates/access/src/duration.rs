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
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let fraction = match fraction {
        "" => 0.0,
        digits => format!("0.{digits}").parse::<f64>().ok()?,
    };
    let nanos = whole.checked_mul(*scale)?.checked_add((fraction * *scale as f64) as u64)?;
    Some((nanos, tail))
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
        let millis = self.0.subsec_millis();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match millis {
            0 => write!(f, "{rest}s"),
            _ => write!(f, "{rest}.{millis:03}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn reads_and_prints_go_durations() {
        for (text, printed) in
            [("1h", "1h0m0s"), ("90m", "1h30m0s"), ("1.5h", "1h30m0s"), ("45s", "45s"), ("never", "never")]
        {
            assert_eq!(text.parse::<Ttl>().map(|ttl| ttl.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in ["", "1", "h", "1x", "-1h", "1h-2m", "99999999999999h"] {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }
}
