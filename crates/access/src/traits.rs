//! Traits: named lists of values that belong to a user and fill the templates of roles.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Trait name to values. `internal.x` and `external.x` in templates read the same map.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Traits(pub BTreeMap<String, Vec<String>>);

impl Traits {
    /// The values of one trait; an absent trait has none.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether no trait is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, Vec<V>)> for Traits {
    fn from_iter<I: IntoIterator<Item = (N, Vec<V>)>>(traits: I) -> Self {
        let owned = |values: Vec<V>| values.into_iter().map(Into::into).collect();
        Self(traits.into_iter().map(|(name, values)| (name.into(), owned(values))).collect())
    }
}
