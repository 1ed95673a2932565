//! Why something is not a resource.

/// A mistake in a resource, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{reason}", path, if path.is_empty() { "" } else { ": " })]
pub struct Invalid {
    /// Keys and indices from the top, such as `spec.allow.rules[0].verbs`; empty for the whole.
    pub path: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl Invalid {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}
