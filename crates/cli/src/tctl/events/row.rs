//! One event for people: when, what, who, and what else it says.

use crate::Failure;
use crate::tctl::show;
use api::v1::Event;
use jiff::Timestamp;
use serde_json::Value;

/// What has a column of its own or says nothing to people.
const NOT_DETAILS: &[&str] = &[
    "time",
    "code",
    "event",
    "user",
    "uid",
    "ei",
    "cluster_name",
    "user_kind",
    "sid",
    "server_id",
    "hash",
    "namespace",
];

/// The body of an event, with its number.
pub(super) fn parsed(event: &Event) -> Result<Value, Failure> {
    let number = event.sequence;
    let mut body: Value = serde_json::from_str(&event.json).map_err(|error| {
        Failure::new(format!("event {number} is not JSON: {error}")).hint("tctl events verify")
    })?;
    if let Some(fields) = body.as_object_mut() {
        fields.insert("sequence".to_owned(), number.into());
    }
    Ok(body)
}

/// Time, code, event, user, details.
pub(super) fn cells(body: &Value) -> [String; 5] {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let details = body.as_object().into_iter().flatten();
    let details = details.filter(|(name, _)| *name != "sequence" && !NOT_DETAILS.contains(&name.as_str()));
    let details: Vec<String> = details.filter_map(|(name, value)| detail(name, value)).collect();
    [time(show::text(body, "/time")), text("code"), text("event"), text("user"), details.join(" ")]
}

/// To the second; the whole is in the other forms.
fn time(text: &str) -> String {
    let time = text.parse::<Timestamp>().map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    time.unwrap_or_else(|_| text.to_owned())
}

fn detail(name: &str, value: &Value) -> Option<String> {
    match value {
        // For programs: people would not find their way through it.
        Value::Null | Value::Object(_) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) if text.contains(char::is_whitespace) => Some(format!("{name}={text:?}")),
        Value::String(text) => Some(format!("{name}={text}")),
        other => Some(format!("{name}={other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, cells, parsed};

    #[test]
    fn an_event_is_one_row() {
        let json = r#"{"time":"2026-03-01T10:00:00.123456789Z","identity":{"user":"x"},"code":"T3002I","event":"exec","user":"bot-x","login":"root",
            "command":"ls -l","exitCode":"0","uid":"u","success":true,"error":""}"#;
        let event = Event { sequence: 7, json: json.to_owned(), hash: Vec::new() };
        let body = parsed(&event).expect("JSON");
        assert_eq!(body["sequence"], 7);
        assert_eq!(
            cells(&body),
            [
                "2026-03-01T10:00:00Z",
                "T3002I",
                "exec",
                "bot-x",
                "command=\"ls -l\" exitCode=0 login=root success=true"
            ]
        );
        assert!(parsed(&Event { json: "{".to_owned(), ..event }).is_err());
    }
}
