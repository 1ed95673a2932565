//! Text from elsewhere (servers, hosts, users), made harmless for a terminal.
//!
//! A label or a message may hold sequences that move the cursor, set the clipboard or the title, ask the terminal to
//! answer, or turn the reading direction. What is shown as text goes through [`neutral`] or [`line()`]; JSON goes
//! through [`json()`], which keeps the meaning.

use std::borrow::Cow;

/// For text of several lines: line breaks and tabs stay, everything else that is not printed is shown as an escape.
pub fn neutral(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'), visible)
}

/// For one line, such as a cell of a table: line breaks are shown as escapes too.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, visible)
}

/// For finished JSON text: outside of strings there is nothing that this changes, and inside the meaning stays.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_hidden(c) && c != '\n', json_escape)
}

/// For finished JSON text that will be read as YAML, which knows no surrogate pairs.
pub fn yaml(text: &str) -> String {
    let escape = |c: char, shown: &mut String| shown.push_str(&format!("\\U{:08x}", u32::from(c)));
    replaced(text, |c| is_hidden(c) && c != '\n', escape).into_owned()
}

/// Whether a terminal does something else with it than print it.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        // Reading direction, joiners, isolates, separators, tags, byte order mark.
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn replaced<'a>(text: &'a str, hidden: impl Fn(char) -> bool, show: fn(char, &mut String)) -> Cow<'a, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { show(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn visible(c: char, shown: &mut String) {
    match u32::from(c) {
        code @ 0..=0xff => shown.push_str(&format!("\\x{code:02x}")),
        code => shown.push_str(&format!("\\u{{{code:x}}}")),
    }
}

fn json_escape(c: char, shown: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        shown.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{json, line, neutral};

    #[test]
    fn terminals_get_nothing_to_obey() {
        for (text, shown) in [
            ("plain text, straße, 日本", "plain text, straße, 日本"),
            ("\u{1b}]52;c;ZXZpbA==\u{7}", "\\x1b]52;c;ZXZpbA==\\x07"),
            ("\u{1b}P$q m\u{1b}\\", "\\x1bP$q m\\x1b\\"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("nul\0del\u{7f}cr\r", "nul\\x00del\\x7fcr\\x0d"),
            ("\u{feff}", "\\u{feff}"),
        ] {
            assert_eq!(line(text), shown);
            assert_eq!(neutral(text), shown);
        }
        assert_eq!(neutral("a\n\tb"), "a\n\tb");
        assert_eq!(line("a\n\tb"), "a\\x0a\\x09b");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"k": "\u{1b}\u{9b}\u{202e}\u{e0041}\u{7f}\n\"x\""});
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let shown = json(&text);
        assert!(shown.chars().all(|c| c == '\n' || !super::is_hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("still JSON"), value);
    }

    #[test]
    fn a_megabyte_is_no_trouble() {
        let text = "\u{1b}".repeat(1 << 20);
        assert_eq!(line(&text).len(), 4 << 20);
    }
}
