//! Labels of a server, and the patterns and selectors that pick servers by them.
//!
//! A selector is an AND over its keys and an OR over each key's patterns; what is missing never fits.

mod pattern;
mod selector;

pub use pattern::{Pattern, PatternError};
pub use selector::Selector;

pub(crate) use pattern::bounded_regex;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The labels that a node carries, static and from commands together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// The value of one label.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
