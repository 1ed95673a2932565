//! Why sshd was left as it was.

use std::fmt;

/// A text for people, and whether it may pass without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    text: String,
    may_pass: bool,
}

impl Fault {
    /// What somebody has to mend: it stays as it is until then.
    pub fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), may_pass: false }
    }

    /// Whether the next try may succeed without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        self.may_pass
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { text, may_pass: true }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
