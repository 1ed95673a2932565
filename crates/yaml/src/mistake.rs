//! What is wrong with a file, in words an operator can act on.

use std::fmt;

use crate::path::KeyPath;

/// More than this many are counted and not printed: the file is then something else than what was expected.
const PRINTED: usize = 100;

/// One mistake: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1; 0 when the mistake has no place (an empty file).
    pub line: usize,
    /// The key it concerns, as the file names it; empty for the file as a whole.
    pub path: KeyPath,
    /// The thing, the reason, the next step. Quotes a value of the file only where one of a few words was expected
    /// or a type refuses it: a secret under such a key stands in it, so it belongs to whoever may read the file.
    pub text: String,
}

/// All mistakes of one file, in the order of its lines. Prints one per line, each with the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    file: String,
    list: Vec<Mistake>,
}

impl Mistake {
    /// In one line, with the file's name.
    #[must_use]
    pub fn of_file(&self, file: &str) -> String {
        let line = if self.line > 0 { format!("{}:", self.line) } else { String::new() };
        let path = if self.path.segments().is_empty() { String::new() } else { format!(" {}:", self.path) };
        format!("{file}:{line}{path} {}", self.text)
    }
}

impl Mistakes {
    pub(crate) fn new(file: &str, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|mistake| mistake.line);
        list.dedup();
        Self { file: file.to_owned(), list }
    }

    /// The mistakes, in the order of the file's lines.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.list.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, mistake) in self.list.iter().take(PRINTED).enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            f.write_str(&mistake.of_file(&self.file))?;
        }
        match self.list.len().checked_sub(PRINTED) {
            Some(more) if more > 0 => write!(f, "\n{}: and {more} more", self.file),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::{Mistake, Mistakes};

    #[test]
    fn prints_by_line_and_bounded() {
        let many =
            (0..150).rev().map(|n| Mistake { line: n + 1, path: "a.b".into(), text: format!("no {n}") });
        let printed = Mistakes::new("f.yaml", many.collect()).to_string();
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0], "f.yaml:1: a.b: no 0");
        assert_eq!(lines.last(), Some(&"f.yaml: and 50 more"));
        assert_eq!(lines.len(), 101);
    }
}
