//! A value read from a file, which still knows where in the file its parts stand.

use std::fmt;

use crate::{
    path::{KeyPath, Segment},
    tree::{Data, Node},
};

/// A value together with the lines it came from.
///
/// Its `Debug` names the file only: configuration may hold secrets.
pub struct Located<T> {
    value: T,
    positions: Positions,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, positions: Positions) -> Self {
        Self { value, positions }
    }

    /// What the file says.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Gives up the lines.
    pub fn into_value(self) -> T {
        self.value
    }

    /// The line of a key, from 1; `None` when the file does not have it. `path` is written as in [`KeyPath`].
    pub fn line(&self, path: impl Into<KeyPath>) -> Option<usize> {
        self.positions.line(&path.into())
    }
}

impl<T> fmt::Debug for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Located").finish_non_exhaustive()
    }
}

/// The lines of a file's keys and list items.
pub(crate) struct Positions {
    root: Node,
}

impl Positions {
    pub(crate) fn new(root: Node) -> Self {
        Self { root }
    }

    pub(crate) fn line(&self, path: &KeyPath) -> Option<usize> {
        let mut here = &self.root;
        let mut line = here.line;
        for segment in path.segments() {
            (here, line) = match (segment, &here.data) {
                (Segment::Key(key), _) => here.entry(key).map(|entry| (&entry.node, entry.line))?,
                (Segment::Item(nth), Data::List(items)) => items.get(*nth).map(|item| (item, item.line))?,
                (Segment::Item(_), _) => return None,
            };
        }
        Some(line)
    }

    /// The line of the path, or of the innermost enclosing thing that the file has.
    pub(crate) fn line_at_or_above(&self, path: &KeyPath) -> usize {
        let mut path = path.clone();
        loop {
            if let Some(line) = self.line(&path) {
                return line;
            }
            match path.parent() {
                Some(above) => path = above,
                None => return 0,
            }
        }
    }
}
