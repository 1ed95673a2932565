//! Cuts an event to what auth takes. A client chooses its command and with it the length of the event; one that auth
//! refuses for its size would be lost, and so would the trace of who ran it.

use serde_json::{Map, Value};

/// The most bytes of an event; auth refuses one of more than 64 KiB.
const LARGEST: usize = 60 * 1024;
/// Texts are cut to this, and shorter where many of them are long. One byte more than auth keeps of a text, so that auth
/// sees that something is missing and says so in the event.
const LONGEST: [usize; 4] = [4 * 1024 + 1, 1024, 256, 64];
/// Ends a text that was cut.
const CUT: &str = "...";

/// The event as JSON of at most [`LARGEST`] bytes.
pub(super) fn to_json(mut fields: Map<String, Value>) -> String {
    for longest in LONGEST {
        fields.values_mut().for_each(|value| shorten(value, longest));
        let json = serde_json::to_string(&fields).unwrap_or_default();
        if json.len() <= LARGEST {
            return json;
        }
    }
    // Not long texts but a great many: who did it and from where are single values, and matter most.
    fields.retain(|_, value| !value.is_array() && !value.is_object());
    Value::Object(fields).to_string()
}

fn shorten(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) if text.len() > longest => {
            text.truncate(text.floor_char_boundary(longest - CUT.len()));
            text.push_str(CUT);
        }
        Value::Array(list) => list.iter_mut().for_each(|value| shorten(value, longest)),
        Value::Object(fields) => fields.values_mut().for_each(|value| shorten(value, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, to_json};
    use serde_json::{Value, json};

    fn cut(value: Value) -> (Value, usize) {
        let Value::Object(fields) = value else { panic!("the test gives an object") };
        let json = to_json(fields);
        (serde_json::from_str(&json).expect("JSON"), json.len())
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let event =
            json!({"user": "jürgen", "n": 7, "initial_command": ["x".repeat(4000)], "labels": {"a": "b"}});
        assert_eq!(cut(event.clone()).0, event);
    }

    #[test]
    fn whatever_is_too_long_still_says_who_did_it() {
        for command in
            ["x".repeat(70_000), "\u{1}".repeat(11_000), "\"é\\".repeat(30_000), "\u{1}".repeat(1 << 20)]
        {
            let event = json!({"user": "alice", "command": command, "error": command, "initial_command": [command, command]});
            let (kept, size) = cut(event);
            assert!(size <= LARGEST, "{size}");
            assert_eq!(kept["user"], "alice");
            let text = kept["initial_command"][0].as_str().expect("still a text");
            assert!(text.ends_with("...") && command.starts_with(text.trim_end_matches("...")), "{text}");
        }
        let (kept, size) = cut(json!({"user": "alice", "argv": vec!["word"; 50_000]}));
        assert_eq!((kept, size <= LARGEST), (json!({"user": "alice"}), true));
    }
}
