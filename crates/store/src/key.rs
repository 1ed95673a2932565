//! Keys: `/kind/name` paths of printable ASCII, ordered by their bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The place of an entry, for example `/roles/access`.
///
/// Starts with `/`, has no empty segment, and is at most [`Key::MAX_LEN`] bytes of printable
/// ASCII (space included). [`Key::root`] (`/`) is a prefix of everything and no entry's key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It does not start with `/`.
    #[error("key {0:?} does not start with /")]
    NotAbsolute(String),
    /// Two slashes meet, or it ends with one.
    #[error("key {0:?} has an empty segment")]
    EmptySegment(String),
    /// It has a character outside printable ASCII, or a segment contains `/`.
    #[error(
        "key {0:?} has the character {1:?}; only printable ASCII is allowed, and / only between segments"
    )]
    Character(String, char),
    /// It is longer than [`Key::MAX_LEN`].
    #[error("key of {0} bytes is longer than {max} bytes", max = Key::MAX_LEN)]
    TooLong(usize),
}

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 512;

    /// The prefix of every key.
    pub fn root() -> Self {
        Self(Arc::from("/"))
    }

    /// Reads a key from its text.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.len() > Self::MAX_LEN {
            return Err(KeyError::TooLong(text.len()));
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(KeyError::NotAbsolute(text.to_owned()));
        };
        if let Some(odd) = text.chars().find(|c| !is_printable(*c)) {
            return Err(KeyError::Character(text.to_owned(), odd));
        }
        if !path.is_empty() && path.split('/').any(str::is_empty) {
            return Err(KeyError::EmptySegment(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The key one segment below this one. The segment may not contain `/`, so a name from
    /// outside can never reach another kind's entries.
    pub fn child(&self, segment: &str) -> Result<Self, KeyError> {
        if segment.is_empty() {
            return Err(KeyError::EmptySegment(format!("{self}/")));
        }
        if let Some(odd) = segment.chars().find(|c| *c == '/' || !is_printable(*c)) {
            return Err(KeyError::Character(segment.to_owned(), odd));
        }
        let parent = if self.is_root() { "" } else { &self.0 };
        Self::new(&format!("{parent}/{segment}"))
    }

    /// True for `/`.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment: the name within the kind.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// True if `self` is `prefix` or lies below it. Whole segments count: `/roles` is no prefix
    /// of `/roles2`.
    pub fn is_under(&self, prefix: &Key) -> bool {
        if prefix.is_root() {
            return true;
        }
        self.0.strip_prefix(&*prefix.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~')
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("a valid key")
    }

    #[test]
    fn accepts_paths_of_printable_ascii() {
        for text in ["/", "/roles", "/roles/access", "/users/alice@example.com", "/nodes/a b", "/x/~!*"] {
            assert_eq!(key(text).as_str(), text);
        }
        assert_eq!(key(&format!("/{}", "a".repeat(511))).as_str().len(), Key::MAX_LEN);
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "roles", "//", "/roles/", "/roles//a", "/röle", "/a\nb", "/a\0", "/a\u{7f}"] {
            assert!(Key::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Key::new(&format!("/{}", "a".repeat(512))), Err(KeyError::TooLong(513)));
    }

    #[test]
    fn a_child_is_exactly_one_segment() {
        assert_eq!(Key::root().child("roles"), Ok(key("/roles")));
        assert_eq!(key("/roles").child("access"), Ok(key("/roles/access")));
        for segment in ["", "a/b", "/", "\n", "é"] {
            assert!(key("/roles").child(segment).is_err(), "{segment:?}");
        }
    }

    #[test]
    fn prefixes_count_whole_segments() {
        assert!(key("/roles/access").is_under(&key("/roles")));
        assert!(key("/roles").is_under(&key("/roles")));
        assert!(key("/roles").is_under(&Key::root()));
        assert!(!key("/roles2/access").is_under(&key("/roles")));
        assert!(!key("/roles").is_under(&key("/roles/access")));
    }
}
