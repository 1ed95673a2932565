//! One pattern for one value: `*`, a glob, or a regular expression (fact sheet, section 2.5).

use regex::{Regex, RegexBuilder};

/// What a value is held against.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// `*`: every value, line breaks included.
    Any,
    /// Text in which each `*` stands for any run of characters without a line break; the whole value must fit.
    Glob(String),
    /// `^...$`, as written. Like the incumbent it is a search, so `^test|staging$` also finds `test-9`.
    Regex(Regex),
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a regular expression: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl Pattern {
    /// Compiles one pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.starts_with('^') && text.ends_with('$') {
            return bounded_regex(text).map(Self::Regex);
        }
        Ok(Self::Glob(text.to_owned()))
    }

    /// Whether the value fits.
    pub fn fits(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Glob(glob) => glob_fits(glob.as_bytes(), value.as_bytes()),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// Compiles a regular expression within a memory bound; matching is linear in the value's length.
pub(crate) fn bounded_regex(text: &str) -> Result<Regex, PatternError> {
    const COMPILED_BYTES: usize = 1 << 20;
    RegexBuilder::new(text)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .nest_limit(64)
        .build()
        .map_err(|error| PatternError { pattern: text.chars().take(64).collect(), reason: last_line(&error) })
}

/// The engine prints syntax errors as a drawing over several lines; its last line says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Matches left to right and on a mismatch lets the last `*` swallow one character more. Going back further
/// than the last `*` never helps: whatever an earlier one could swallow, the last one can as well.
fn glob_fits(glob: &[u8], value: &[u8]) -> bool {
    let (mut g, mut v) = (0, 0);
    let mut last_star = None;
    while v < value.len() {
        if glob.get(g) == Some(&b'*') {
            last_star = Some((g + 1, v));
            g += 1;
        } else if glob.get(g) == Some(&value[v]) {
            g += 1;
            v += 1;
        } else if let Some((after_star, swallowed)) = last_star
            && value[swallowed] != b'\n'
        {
            last_star = Some((after_star, swallowed + 1));
            g = after_star;
            v = swallowed + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    fn fits(pattern: &str, value: &str) -> bool {
        Pattern::new(pattern).expect("a pattern").fits(value)
    }

    #[test]
    fn patterns_fit_as_the_fact_sheet_says() {
        for (pattern, value, expected) in [
            ("*", "", true),
            ("*", "a\nb", true),
            ("prod", "prod", true),
            ("prod", "Prod", false),
            ("prod", "prod1", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "ac", true),
            ("a*c*e", "abcde", true),
            ("a*c", "acb", false),
            ("a*", "a\nb", false),
            ("a.c", "abc", false),
            ("a**", "a", true),
            ("", "", true),
            ("", "x", false),
            ("^(dev|test)$", "dev", true),
            ("^(dev|test)$", "devel", false),
            ("^test|staging$", "test-9", true),
            ("^test|staging$", "my-staging", true),
            ("^test|staging$", "a-test-b", false),
            ("^a.b$", "a\nb", false),
            ("^$", "", true),
            ("^prod", "^prod", true),
            ("^prod", "prod", false),
        ] {
            assert_eq!(fits(pattern, value), expected, "{pattern:?} against {value:?}");
        }
    }

    #[test]
    fn a_broken_or_huge_expression_is_refused() {
        for pattern in ["^[$", "^(a$", "^(?P<x$", "^a{1000}{1000}{1000}$"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_glob_is_its_own_regular_expression(glob in "[ab*\n]{0,10}", value in "[ab\n]{0,14}") {
            let quoted = regex::escape(&glob).replace(r"\*", "(.*)");
            let reference = regex::Regex::new(&format!("^{quoted}$")).expect("a regex");
            prop_assume!(glob != "*");
            prop_assert_eq!(fits(&glob, &value), reference.is_match(&value));
        }
    }
}
