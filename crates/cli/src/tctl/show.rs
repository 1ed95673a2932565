//! Small forms that several commands print: names, lists, labels, times.

use access::Ttl;
use access::resource::Kind;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// Text at `pointer` (RFC 6901), or nothing.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The name of a resource.
pub(super) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

/// A list of texts with commas.
pub(super) fn list(value: &Value, pointer: &str) -> String {
    let items = value.pointer(pointer).and_then(Value::as_array);
    items
        .map(|items| items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        .unwrap_or_default()
}

/// `key=value` with commas, sorted by key.
pub(super) fn labels(maps: &[Option<&Value>]) -> String {
    let entries = maps.iter().flatten().filter_map(|map| map.as_object()).flatten();
    let mut pairs: Vec<String> =
        entries.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// How a message names a resource; the name of a token is a secret.
pub(super) fn called(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Token => format!("token {:?}", access::resource::token::masked(name)),
        kind => format!("{} {name:?}", kind.as_str()),
    }
}

/// A moment and how far away it is, as lists of tokens show it.
pub(super) fn expiry(expires: Option<&Value>, now: Timestamp) -> String {
    let Some(at) = expires.and_then(Value::as_str) else {
        return "never".to_owned();
    };
    let Ok(at) = at.parse::<Timestamp>() else {
        return at.to_owned();
    };
    let left = u64::try_from(at.as_second() - now.as_second()).unwrap_or(0);
    let left = if left == 0 { "expired".to_owned() } else { Ttl::from_secs(left).to_string() };
    format!("{} ({left})", at.strftime("%d %b %y %H:%M UTC"))
}

/// A length of time for a sentence: `30 minutes`, `2 hours`.
pub(super) fn spoken(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (1, 0) => "1 hour".to_owned(),
        (hours, 0) if hours > 0 => format!("{hours} hours"),
        _ => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{called, expiry, labels, spoken};
    use access::resource::Kind;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now = "2026-03-01T10:00:00Z".parse().expect("a time");
        assert_eq!(expiry(None, now), "never");
        let later = json!("2026-03-01T10:30:05Z");
        assert_eq!(expiry(Some(&later), now), "01 Mar 26 10:30 UTC (30m5s)");
        let before = json!("2026-03-01T09:30:05Z");
        assert_eq!(expiry(Some(&before), now), "01 Mar 26 09:30 UTC (expired)");
        for (seconds, words) in
            [(60, "1 minute"), (1800, "30 minutes"), (3600, "1 hour"), (5400, "90 minutes")]
        {
            assert_eq!(spoken(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn labels_are_sorted_and_tokens_masked() {
        let (a, b) = (json!({"z": "1", "a": "2"}), json!({"m": "3"}));
        assert_eq!(labels(&[Some(&a), None, Some(&b)]), "a=2,m=3,z=1");
        assert_eq!(called(Kind::Token, "0123456789abcdef"), "token \"************cdef\"");
        assert_eq!(called(Kind::Role, "x"), "role \"x\"");
    }
}
