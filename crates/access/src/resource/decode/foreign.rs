//! Fields of the incumbent that have no meaning here.
//!
//! What concerns things that do not exist here (applications, databases, desktops, clusters of containers) is
//! kept as written: it can neither widen nor narrow access to servers. What would restrict or extend access
//! to servers, were it understood, is refused by name, unless it is switched off.

use super::Invalid;
use super::fields::{Fields, Item};
use crate::resource::role::Foreign;
use serde_json::Value;

/// A field that is accepted in its off positions only.
pub(super) struct Gate {
    /// The field.
    pub key: &'static str,
    /// What counts as off beside `false`, `0` and emptiness.
    pub off: &'static [&'static str],
    /// Why nothing else is accepted.
    pub reason: &'static str,
}

/// Refuses each gated field that is not off; fields that are off are dropped.
pub(super) fn check_gates(fields: &mut Fields, gates: &'static [Gate]) -> Result<(), Invalid> {
    gates
        .iter()
        .filter_map(|gate| Some((gate, fields.take(gate.key)?)))
        .try_for_each(|(gate, item)| gate.check(&item))
}

/// As [`check_gates`], keeping what is off as it was written.
pub(super) fn keep_gated(
    fields: &mut Fields,
    gates: &'static [Gate],
    kept: &mut Foreign,
) -> Result<(), Invalid> {
    for gate in gates {
        if let Some(item) = fields.take(gate.key) {
            gate.check(&item)?;
            kept.insert(gate.key.to_owned(), item.value);
        }
    }
    Ok(())
}

/// Takes fields as they are.
pub(super) fn keep(fields: &mut Fields, keys: &[&'static str], kept: &mut Foreign) {
    for key in keys {
        if let Some(item) = fields.take(key) {
            kept.insert((*key).to_owned(), item.value);
        }
    }
}

impl Gate {
    pub fn check(&self, item: &Item) -> Result<(), Invalid> {
        let off = match &item.value {
            Value::String(text) => self.off.contains(&text.to_ascii_lowercase().as_str()),
            _ => item.is_blank(),
        };
        match off || item.is_blank() {
            true => Ok(()),
            false => Err(item.invalid(format!("{} is not supported: {}", self.key, self.reason))),
        }
    }
}
