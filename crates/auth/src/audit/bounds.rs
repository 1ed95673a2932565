//! Makes what came from outside fit to be kept and shown: nothing that steers a terminal,
//! nothing that grows without bound.

use serde_json::{Map, Value};

/// The longest text, in bytes.
pub(super) const TEXT: usize = 4 * 1024;
/// All texts of one event together, in bytes.
const ALL_TEXTS: usize = 48 * 1024;
/// The longest text in an event that says no.
const BRIEF: usize = 512;
/// The longest name of a field, in bytes.
const NAME: usize = 128;
/// The most values in one event, at all depths.
const VALUES: usize = 512;
/// The deepest nesting.
const DEPTH: usize = 4;
/// Ends a text that was cut.
const CUT: &str = "...";

/// What is left of the bounds of one event.
pub(super) struct Bounds {
    /// The longest text.
    text: usize,
    bytes: usize,
    values: usize,
    cut: bool,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self { text: TEXT, bytes: ALL_TEXTS, values: VALUES, cut: false }
    }

    /// Of an event that says no: whoever is refused can have many of them.
    pub(super) fn brief() -> Self {
        Self { text: BRIEF, bytes: BRIEF * 8, ..Self::new() }
    }

    /// True once something had to be left out.
    pub(super) fn have_cut(&self) -> bool {
        self.cut
    }

    /// The fields within the bounds. Single values come before lists, so that a long list
    /// cannot push out who did it.
    pub(super) fn fields(&mut self, fields: Map<String, Value>) -> Map<String, Value> {
        let (lists, single): (Vec<_>, Vec<_>) =
            fields.into_iter().partition(|(_, value)| value.is_array() || value.is_object());
        let mut kept = Map::new();
        for (name, value) in single.into_iter().chain(lists) {
            self.field(&mut kept, &name, value, 0);
        }
        kept
    }

    fn field(&mut self, kept: &mut Map<String, Value>, name: &str, value: Value, depth: usize) {
        let name = self.text(name, NAME);
        if name.is_empty() {
            self.cut = true;
            return;
        }
        if let Some(value) = self.value(value, depth) {
            kept.insert(name, value);
        }
    }

    fn value(&mut self, value: Value, depth: usize) -> Option<Value> {
        if self.values == 0 || depth > DEPTH {
            self.cut = true;
            return None;
        }
        self.values -= 1;
        Some(match value {
            Value::String(text) => Value::String(self.text(&text, self.text)),
            Value::Array(list) => {
                Value::Array(list.into_iter().filter_map(|value| self.value(value, depth + 1)).collect())
            }
            Value::Object(fields) => {
                let mut kept = Map::new();
                for (name, value) in fields {
                    self.field(&mut kept, &name, value, depth + 1);
                }
                Value::Object(kept)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        })
    }

    fn text(&mut self, text: &str, longest: usize) -> String {
        let room = longest.min(self.bytes);
        let mut clean = String::new();
        for c in text.chars() {
            let before = clean.len();
            match steers(c) {
                true => clean.extend(c.escape_default()),
                false => clean.push(c),
            }
            if clean.len() > room {
                clean.truncate(clean.floor_char_boundary(before.min(room.saturating_sub(CUT.len()))));
                clean.push_str(CUT);
                self.cut = true;
                break;
            }
        }
        self.bytes = self.bytes.saturating_sub(clean.len());
        clean
    }
}

/// Characters that act on a terminal, end a line or change the order in which text is shown.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bounded(value: Value) -> (Value, bool) {
        let Value::Object(fields) = value else { panic!("the test gives an object") };
        let mut bounds = Bounds::new();
        let kept = Value::Object(bounds.fields(fields));
        (kept, bounds.have_cut())
    }

    #[test]
    fn what_is_harmless_stays() {
        let value = json!({"user": "jürgen", "n": 7, "roles": ["a", "b"], "ok": true, "x": {"y": null}});
        assert_eq!(bounded(value.clone()), (value, false));
    }

    #[test]
    fn what_steers_is_shown() {
        let (kept, cut) = bounded(json!({"a": "\u{1b}]52;c;x\u{7}", "b\n": "l1\nl2\t\u{202e}x\u{9b}"}));
        let expected = json!({"a": "\\u{1b}]52;c;x\\u{7}", "b\\n": "l1\\nl2\\t\\u{202e}x\\u{9b}"});
        assert_eq!((kept, cut), (expected, false));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let (kept, cut) = bounded(json!({"a": "é".repeat(TEXT), "z": "short"}));
        let text = kept["a"].as_str().expect("still a text");
        assert!(cut && text.len() <= TEXT && text.starts_with("éé") && text.ends_with(CUT));
        assert_eq!(kept["z"], "short");
    }

    #[test]
    fn a_long_list_does_not_push_out_who_did_it() {
        let list: Vec<String> = (0..1000).map(|_| "x".repeat(1000)).collect();
        let (kept, cut) = bounded(json!({"argv": list, "user": "alice"}));
        assert!(cut);
        assert_eq!(kept["user"], "alice");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "\\PC{0,50}[\\x00-\\x1f\u{202e}]{0,5}".prop_map(|text| Value::from(text.repeat(200))),
        ];
        leaf.prop_recursive(6, 200, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..20)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_comes_the_bounds_hold(value in any_value()) {
            let (kept, _) = bounded(json!({"value": value}));
            let text = kept.to_string();
            prop_assert!(text.len() <= 4 * ALL_TEXTS);
            prop_assert!(!text.chars().any(steers));
        }
    }
}
