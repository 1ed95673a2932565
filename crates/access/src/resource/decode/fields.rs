//! Reading the parts of a JSON document: each value knows its path, each object knows what was not asked for.

use super::Invalid;
use crate::Ttl;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::str::FromStr;

/// An object of which every key must be taken.
pub(super) struct Fields {
    path: String,
    rest: Map<String, Value>,
    known: Vec<&'static str>,
}

/// A value and where it stands.
pub(super) struct Item {
    pub path: String,
    pub value: Value,
}

impl Fields {
    pub fn of(item: Item) -> Result<Self, Invalid> {
        match item.value {
            Value::Object(rest) => Ok(Self { path: item.path, rest, known: Vec::new() }),
            other => Err(wrong(&item.path, "a mapping", &other)),
        }
    }

    /// The value of a key; `null` counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<Item> {
        self.known.push(key);
        let value = self.rest.remove(key).filter(|value| !value.is_null())?;
        Some(Item { path: child(&self.path, key), value })
    }

    pub fn required(&mut self, key: &'static str) -> Result<Item, Invalid> {
        let missing = Invalid::new(child(&self.path, key), format!("{key} is required"));
        self.take(key).ok_or(missing)
    }

    /// The object under a key; an absent one is empty.
    pub fn section(&mut self, key: &'static str) -> Result<Fields, Invalid> {
        match self.take(key) {
            Some(item) => Fields::of(item),
            None => Ok(Fields { path: child(&self.path, key), rest: Map::new(), known: Vec::new() }),
        }
    }

    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>, Invalid> {
        self.take(key).map_or(Ok(Vec::new()), Item::texts)
    }

    pub fn text(&mut self, key: &'static str) -> Result<String, Invalid> {
        self.take(key).map_or(Ok(String::new()), |item| item.text())
    }

    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Invalid> {
        self.take(key).map(|item| item.flag()).transpose()
    }

    pub fn count(&mut self, key: &'static str) -> Result<Option<u32>, Invalid> {
        self.take(key).map(|item| item.count()).transpose()
    }

    pub fn ttl(&mut self, key: &'static str) -> Result<Option<Ttl>, Invalid> {
        self.take(key).map(|item| item.ttl()).transpose()
    }

    pub fn timestamp(&mut self, key: &'static str) -> Result<Option<Timestamp>, Invalid> {
        self.take(key).map_or(Ok(None), |item| item.timestamp())
    }

    /// Takes and drops what has no meaning here.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.take(key);
        }
    }

    /// Everything that was not taken, as items.
    pub fn into_items(self) -> impl Iterator<Item = (String, Item)> {
        let path = self.path;
        self.rest.into_iter().map(move |(key, value)| {
            let path = child(&path, &key);
            (key, Item { path, value })
        })
    }

    /// Refuses what was not taken, with the nearest known key.
    pub fn finish(self) -> Result<(), Invalid> {
        let Some(key) = self.rest.keys().next() else {
            return Ok(());
        };
        let reason = match nearest(key, &self.known) {
            Some(known) => format!("unknown field; did you mean {known}?"),
            None => format!("unknown field; known are {}", self.known.join(", ")),
        };
        Err(Invalid::new(child(&self.path, key), reason))
    }

    pub fn invalid(&self, reason: impl Into<String>) -> Invalid {
        Invalid::new(self.path.clone(), reason)
    }
}

impl Item {
    pub fn whole(value: Value) -> Self {
        Self { path: String::new(), value }
    }

    pub fn invalid(&self, reason: impl Into<String>) -> Invalid {
        Invalid::new(self.path.clone(), reason)
    }

    pub fn text(&self) -> Result<String, Invalid> {
        match &self.value {
            Value::String(text) => Ok(text.clone()),
            other @ (Value::Number(_) | Value::Bool(_)) => {
                Err(self.invalid(format!("a text is needed here; write \"{other}\" in quotes")))
            }
            other => Err(wrong(&self.path, "a text", other)),
        }
    }

    /// `true`, `false`, and the words that people write instead.
    pub fn flag(&self) -> Result<bool, Invalid> {
        match &self.value {
            Value::Bool(flag) => Ok(*flag),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "true" | "on" => Ok(true),
                "no" | "false" | "off" => Ok(false),
                _ => Err(wrong(&self.path, "yes or no", &self.value)),
            },
            other => Err(wrong(&self.path, "yes or no", other)),
        }
    }

    pub fn count(&self) -> Result<u32, Invalid> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| wrong(&self.path, "a whole number from 0", &self.value))
    }

    pub fn ttl(&self) -> Result<Ttl, Invalid> {
        match &self.value {
            Value::Number(number) if number.as_u64() == Some(0) => Ok(Ttl::NEVER),
            Value::String(text) => text.parse().map_err(|error| self.invalid(format!("{error}"))),
            other => Err(wrong(&self.path, "a duration such as 1h30m", other)),
        }
    }

    /// Go's zero time, which the incumbent prints, is no time.
    pub fn timestamp(&self) -> Result<Option<Timestamp>, Invalid> {
        let text = self.text()?;
        if text.starts_with("0001-01-01T00:00:00") {
            return Ok(None);
        }
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| {
            self.invalid(format!("{:?} is not a time; write 2026-01-31T12:00:00Z", shortened(&text)))
        })
    }

    /// Parses a text; the error says what is wrong with it.
    pub fn parse<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, Invalid> {
        self.text()?.parse().map_err(|error| self.invalid(format!("{error}")))
    }

    pub fn list(self) -> Result<Vec<Item>, Invalid> {
        match self.value {
            Value::Array(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, value)| Item { path: element(&self.path, index), value })
                .collect()),
            other => Err(wrong(&self.path, "a list", &other)),
        }
    }

    pub fn texts(self) -> Result<Vec<String>, Invalid> {
        self.list()?.iter().map(Item::text).collect()
    }

    /// A list, or one value that stands for a list of one.
    pub fn one_or_more(self) -> Result<Vec<Item>, Invalid> {
        match self.value {
            Value::Array(_) => self.list(),
            _ => Ok(vec![self]),
        }
    }

    /// Decodes a plain structure whose own definition is strict.
    pub fn plain<T: serde::de::DeserializeOwned>(self) -> Result<T, Invalid> {
        serde_json::from_value(self.value).map_err(|error| Invalid::new(self.path, error.to_string()))
    }

    /// Nothing, `""`, `0`, `false`, `[]`, and objects of nothing else.
    pub fn is_blank(&self) -> bool {
        blank(&self.value)
    }
}

fn blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(blank),
    }
}

fn wrong(path: &str, wanted: &str, found: &Value) -> Invalid {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => shortened(&number.to_string()),
        Value::String(text) => format!("{:?}", shortened(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    };
    Invalid::new(path, format!("{wanted} is needed here, not {found}"))
}

/// Enough of a text to recognise it in a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The path of a key; keys that are not plain words stand in quotes.
pub(super) fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let dot = if path.is_empty() { "" } else { "." };
    match plain {
        true => format!("{path}{dot}{}", shortened(key)),
        false => format!("{path}{dot}{:?}", shortened(key)),
    }
}

/// The path of a list's item.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The known word that `key` was probably meant to be.
pub fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    // Long keys are no slips of known ones, and comparing them would cost their length squared.
    if key.len() > 64 {
        return None;
    }
    let scored = known.iter().map(|known| (strsim::damerau_levenshtein(key, known), *known));
    scored.filter(|(distance, known)| *distance <= known.len() / 3 + 1).min().map(|(_, known)| known)
}
