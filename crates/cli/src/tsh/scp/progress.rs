//! What scp shows while it copies: one line for each file, when somebody watches.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Shows what was copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    /// Nothing is shown.
    #[cfg(test)]
    pub(super) const HIDDEN: Self = Self { shown: false };

    /// Nothing is shown when that was asked for, or when nobody watches.
    pub(super) fn new(quiet: bool) -> Self {
        Self { shown: !quiet && io::stderr().is_terminal() }
    }

    /// A file is whole.
    pub(super) fn copied(self, name: &Path, bytes: u64) {
        if self.shown {
            let name = name.display().to_string();
            // Whoever closed standard error does not want to know.
            let _ = writeln!(io::stderr(), "{}  {}", crate::escape::line(&name), size(bytes));
        }
    }
}

fn size(bytes: u64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 10_000 {
            return format!("{value} {unit}");
        }
        value /= 1024;
    }
    format!("{value} TiB")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (bytes, text) in [(0, "0 B"), (9999, "9999 B"), (10_240, "10 KiB"), (u64::MAX, "16777215 TiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
