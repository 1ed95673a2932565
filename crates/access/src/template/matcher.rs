//! Matchers: what stands in `impersonate` for names of users and roles.
//!
//! A pattern as in labels, a template that is filled first, or text around `{{regexp.match("re")}}`.

use super::{Template, TemplateError, expression, shortened, split};
use crate::Traits;
use crate::label::{Pattern, PatternError, bounded_regex};
use crate::predicate::SyntaxError;
use crate::predicate::syntax::{Node, Shape, parse};
use regex::Regex;

/// A checked matcher.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// A glob, a regular expression or a plain name.
    Pattern(Pattern),
    /// Filled from the caller's traits; each value is a pattern.
    Filled(Template),
    /// `{{regexp.match("re")}}` or `{{regexp.not_match("re")}}` with text around it.
    Inner {
        /// Comes first.
        prefix: String,
        /// Holds for what is between.
        regex: Regex,
        /// Comes last.
        suffix: String,
        /// Whether the expression must fit or must not.
        wanted: bool,
    },
}

/// Why a text is not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The pattern is wrong.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Matcher {
    /// Parses one matcher.
    pub fn new(text: &str) -> Result<Self, MatcherError> {
        let Some(parts) = split(text)? else {
            return Ok(Self::Pattern(Pattern::new(text)?));
        };
        let node = parse(parts.expression).map_err(|error| syntax(text, error))?;
        let Some((regex, wanted)) = inner_match(&node).map_err(|error| syntax(text, error))? else {
            expression(&node).map_err(|error| syntax(text, error))?;
            return Ok(Self::Filled(Template::new(text)?));
        };
        let (prefix, suffix) = (parts.prefix.trim_start().to_owned(), parts.suffix.trim_end().to_owned());
        Ok(Self::Inner { prefix, regex, suffix, wanted })
    }

    /// The name itself, where the matcher fits exactly one.
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Pattern(Pattern::Glob(name)) if !name.contains('*') => Some(name),
            _ => None,
        }
    }

    /// Fills templates, so that what remains needs no traits. A value that is no pattern yields nothing.
    pub fn fill(self, traits: &Traits) -> Vec<Matcher> {
        let Self::Filled(template) = self else {
            return vec![self];
        };
        let values = template.fill(traits).unwrap_or_default();
        values.iter().filter_map(|value| Pattern::new(value).ok()).map(Matcher::Pattern).collect()
    }

    /// Whether a name fits; an unfilled template fits nothing.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.fits(name),
            Self::Filled(_) => false,
            Self::Inner { prefix, regex, suffix, wanted } => name
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(|inner| regex.is_match(inner) == *wanted),
        }
    }
}

fn inner_match(node: &Node) -> Result<Option<(Regex, bool)>, SyntaxError> {
    let (wanted, arguments) = match &node.shape {
        Shape::Call(name, arguments) if name == "regexp.match" => (true, arguments),
        Shape::Call(name, arguments) if name == "regexp.not_match" => (false, arguments),
        _ => return Ok(None),
    };
    let [re] = arguments.as_slice() else {
        return Err(node.error("one regular expression is needed here"));
    };
    let regex = bounded_regex(re.constant()?).map_err(|error| re.error(error.to_string()))?;
    Ok(Some((regex, wanted)))
}

fn syntax(text: &str, error: SyntaxError) -> MatcherError {
    TemplateError::Syntax { template: shortened(text), error }.into()
}

#[cfg(test)]
mod tests {
    use super::Matcher;
    use crate::Traits;

    fn fits(matcher: &str, name: &str) -> bool {
        let traits = Traits::from_iter([("apps", vec!["web", "db-*"])]);
        let matchers = Matcher::new(matcher).expect("a matcher").fill(&traits);
        matchers.iter().any(|matcher| matcher.fits(name))
    }

    #[test]
    fn matchers_fit_names() {
        for (matcher, name, expected) in [
            ("*", "anything", true),
            ("dev-*", "dev-a", true),
            ("dev-*", "a-dev-a", false),
            ("^(a|b)$", "a", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("{{external.apps}}", "web", true),
            ("{{external.apps}}", "db-1", true),
            ("role-{{external.apps}}", "role-db-1", true),
            ("{{external.none}}", "", false),
            (r#"foo-{{regexp.match("^bar$")}}-baz"#, "foo-bar-baz", true),
            (r#"foo-{{regexp.match("^bar$")}}-baz"#, "foo-qux-baz", false),
            (r#"foo-{{regexp.not_match("bar")}}-baz"#, "foo-qux-baz", true),
            (r#"foo-{{regexp.not_match("bar")}}-baz"#, "foo-bar-baz", false),
            (r#"foo-{{regexp.not_match("bar")}}-baz"#, "other", false),
            (r#"ab{{regexp.match(".*")}}ba"#, "aba", false),
        ] {
            assert_eq!(fits(matcher, name), expected, "{matcher} against {name}");
        }
    }

    #[test]
    fn broken_matchers_are_refused() {
        for matcher in
            ["^[$", "{{", r#"{{regexp.match("[")}}"#, "{{regexp.match(external.a)}}", "{{regexp.match()}}"]
        {
            assert!(Matcher::new(matcher).is_err(), "{matcher}");
        }
    }
}
