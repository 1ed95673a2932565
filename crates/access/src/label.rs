//! Labels of a server: key to value.

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
