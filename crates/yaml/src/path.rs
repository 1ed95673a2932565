//! Where in a file something stands: `auth_service.tokens[1]`.

use std::fmt;

/// A path of keys and list positions from the top of a file.
///
/// Written with dots and brackets; a key that holds anything else than letters, digits, `_` or `-` is quoted, so that
/// `ssh_service.labels."kubernetes.io/os"` stays one key below `labels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Segment>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Segment {
    Key(String),
    Item(usize),
}

impl KeyPath {
    /// The path one key deeper.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The path of the list item with this index, counted from zero.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.with(Segment::Item(index))
    }

    /// The enclosing path, or `None` at the top.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    pub(crate) fn with(&self, segment: Segment) -> Self {
        let mut deeper = self.0.clone();
        deeper.push(segment);
        Self(deeper)
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this path is `other` or lies below it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The same place with another name for the top-level section.
    pub(crate) fn rename_top(&self, from: &str, to: &str) -> Self {
        let mut renamed = self.clone();
        if let Some(Segment::Key(top)) = renamed.0.first_mut()
            && top == from
        {
            to.clone_into(top);
        }
        renamed
    }
}

/// Reads the written form. Total: what is not a well-formed index or quote is part of a key.
impl From<&str> for KeyPath {
    fn from(written: &str) -> Self {
        let mut segments = Vec::new();
        let mut rest = written;
        while !rest.is_empty() {
            let (segment, tail) = first_segment(rest);
            segments.push(segment);
            rest = tail.strip_prefix('.').unwrap_or(tail);
        }
        Self(segments)
    }
}

fn first_segment(text: &str) -> (Segment, &str) {
    if let Some((index, tail)) = text.strip_prefix('[').and_then(|t| t.split_once(']'))
        && let Ok(index) = index.parse()
    {
        return (Segment::Item(index), tail);
    }
    if let Some((key, tail)) = text.strip_prefix('"').and_then(|t| t.split_once('"')) {
        return (Segment::Key(key.to_owned()), tail);
    }
    // From the second character on, so that a stray bracket or dot cannot stop the progress.
    let end =
        text.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map_or(text.len(), |(at, _)| at);
    (Segment::Key(text[..end].to_owned()), &text[end..])
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Item(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if depth == 0 { "" } else { "." };
                    if is_plain(key) { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::KeyPath;

    #[test]
    fn written_form_and_back() {
        for written in [
            "",
            "version",
            "auth_service.tokens[1]",
            "a[0][2].b-c",
            r#"ssh_service.labels."k8s.io/os""#,
            r#""a b".c"#,
        ] {
            assert_eq!(KeyPath::from(written).to_string(), written);
        }
    }

    #[test]
    fn reading_is_total() {
        for odd in [".", "..", "[", "[x]", "]", "\"", "a..b", "[99999999999999999999999]", "é[", "a.é"] {
            let _ = KeyPath::from(odd).to_string();
        }
    }

    #[test]
    fn containment_is_by_step_and_not_by_letters() {
        let section = KeyPath::from("auth_service.cluster");
        assert!(KeyPath::from("auth_service.cluster[0].x").is_within(&section));
        assert!(!KeyPath::from("auth_service.cluster_name").is_within(&section));
    }
}
