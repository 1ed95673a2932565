//! One thing that was looked at.

use serde_json::{Value, json};

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    /// It works now and will not for ever.
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    level: Level,
    what: String,
    said: String,
    fix: String,
}

impl Finding {
    pub fn good(what: impl Into<String>, said: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into(), said: said.into(), fix: String::new() }
    }

    pub fn warning(what: impl Into<String>, said: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, what: what.into(), said: said.into(), fix: fix.into() }
    }

    pub fn wrong(what: impl Into<String>, said: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Wrong, what: what.into(), said: said.into(), fix: fix.into() }
    }

    /// From an error whose text ends with the next step after a semicolon, as all of ours do.
    pub fn of(what: impl Into<String>, error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((said, fix)) => Self::wrong(what, said, fix),
            None => Self::wrong(what, text.as_str(), "see the documentation: When something is refused"),
        }
    }

    pub fn is_wrong(&self) -> bool {
        self.level == Level::Wrong
    }

    fn word(&self) -> &'static str {
        match self.level {
            Level::Good => "ok",
            Level::Warning => "warning",
            Level::Wrong => "wrong",
        }
    }

    /// In one line, or two.
    pub fn text(&self) -> String {
        let head = format!("{:8} {}: {}\n", self.word(), self.what, self.said);
        if self.fix.is_empty() { head } else { format!("{head}{:8} fix: {}\n", "", self.fix) }
    }
}

/// All of them, for programs.
pub(super) fn json(findings: &[Finding]) -> String {
    let told = |finding: &Finding| -> Value {
        let Finding { what, said, fix, .. } = finding;
        json!({ "check": what, "result": finding.word(), "message": said, "fix": fix })
    };
    let all: Vec<Value> = findings.iter().map(told).collect();
    let wrong = findings.iter().filter(|finding| finding.is_wrong()).count();
    format!("{:#}\n", json!({ "wrong": wrong, "findings": all }))
}
