//! Limits on the whole of a resource, checked before its parts are read.

use super::Invalid;
use super::fields::{child, element};
use serde_json::Value;

const MAX_TEXT: usize = 4096;
/// Key sets are written as one text.
const MAX_KEY_SET: usize = 32 * 1024;
const MAX_KEYS: usize = 256;
const MAX_ITEMS: usize = 1024;
const MAX_VALUES: usize = 20_000;
const MAX_DEPTH: usize = 16;

/// Refuses what is larger than any resource needs to be, and control characters anywhere.
pub(super) fn check(value: &Value) -> Result<(), Invalid> {
    let mut left = MAX_VALUES;
    walk("", value, 0, &mut left)
}

fn walk(path: &str, value: &Value, depth: usize, left: &mut usize) -> Result<(), Invalid> {
    if depth > MAX_DEPTH {
        return Err(Invalid::new(path, format!("nested more than {MAX_DEPTH} levels deep")));
    }
    *left = left.checked_sub(1).ok_or_else(|| Invalid::new("", format!("more than {MAX_VALUES} values")))?;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(string) => text(path, "text", string),
        Value::Array(items) if items.len() > MAX_ITEMS => {
            Err(Invalid::new(path, format!("{} items; at most {MAX_ITEMS} are allowed", items.len())))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| walk(&element(path, index), item, depth + 1, left)),
        Value::Object(map) if map.len() > MAX_KEYS => {
            Err(Invalid::new(path, format!("{} keys; at most {MAX_KEYS} are allowed", map.len())))
        }
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            text(path, "key", key)?;
            walk(&child(path, key), value, depth + 1, left)
        }),
    }
}

/// Control characters would reach terminals and logs; a text of several lines may have line breaks.
fn text(path: &str, what: &str, text: &str) -> Result<(), Invalid> {
    let most = if path.ends_with("jwks") { MAX_KEY_SET } else { MAX_TEXT };
    if text.len() > most {
        return Err(Invalid::new(
            path,
            format!("{what} of {} bytes; at most {most} are allowed", text.len()),
        ));
    }
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some(control) => {
            Err(Invalid::new(path, format!("{what} contains the control character {control:?}")))
        }
        None => Ok(()),
    }
}
