//! A set of servers described by labels.

use super::{Labels, Pattern};

/// Keys with the patterns of their values, compiled.
#[derive(Debug, Clone, Default)]
pub enum Selector {
    /// Fits no server; also what an empty selector means.
    #[default]
    Nothing,
    /// `'*': '*'`: fits every server, even one without labels.
    Everything,
    /// The server has every key, each with a value that one of the patterns fits.
    Keys(Vec<(String, Vec<Pattern>)>),
}

impl Selector {
    /// Whether the selector picks a server with these labels.
    pub fn fits(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Keys(keys) => keys.iter().all(|(key, patterns)| key_fits(key, patterns, labels)),
        }
    }
}

fn key_fits(key: &str, patterns: &[Pattern], labels: &Labels) -> bool {
    // The empty key is what a key becomes whose trait is missing.
    if key.is_empty() {
        return false;
    }
    labels.value(key).is_some_and(|value| patterns.iter().any(|pattern| pattern.fits(value)))
}
