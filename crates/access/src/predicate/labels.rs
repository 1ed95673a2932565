//! Label expressions: `node_labels_expression` (fact sheet, section 2.7).

use super::syntax::{Node, Shape, SyntaxError, parse};
use crate::label::{Labels, Pattern, PatternError, bounded_regex};
use crate::{Traits, template::email_local};
use regex::Regex;

/// A checked label expression.
#[derive(Debug, Clone)]
pub struct LabelExpression(Test);

/// A value in the data that the expression cannot handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// `email.local` of something else.
    #[error("{0:?} is not an e-mail address")]
    NotAnAddress(String),
    /// `regexp.replace` made more of a value than any label holds.
    #[error("a replaced value is longer than {MAX_VALUE} bytes")]
    TooLong,
}

const MAX_VALUE: usize = 4096;

#[derive(Debug, Clone)]
enum Test {
    Or(Vec<Test>),
    And(Vec<Test>),
    Not(Box<Test>),
    Equal(Text, Text),
    NotEqual(Text, Text),
    Contains(List, Text),
    ContainsAny(List, List),
    ContainsAll(List, List),
    Match(List, Pattern),
}

#[derive(Debug, Clone)]
enum Text {
    Constant(String),
    Label(String),
}

#[derive(Debug, Clone)]
enum List {
    One(Text),
    Trait(String),
    Replace(Box<List>, Regex, String),
    EmailLocal(Box<List>),
    Upper(Box<List>),
    Lower(Box<List>),
    LabelsMatching(Pattern),
}

impl LabelExpression {
    /// Parses and types an expression.
    pub fn new(source: &str) -> Result<Self, SyntaxError> {
        test(&parse(source)?).map(Self)
    }

    /// Whether it holds for a server with these labels and a user with these traits.
    pub fn holds(&self, labels: &Labels, traits: &Traits) -> Result<bool, EvaluationError> {
        Data { labels, traits }.test(&self.0)
    }
}

fn test(node: &Node) -> Result<Test, SyntaxError> {
    let all = |nodes: &[Node]| nodes.iter().map(test).collect::<Result<Vec<_>, _>>();
    match &node.shape {
        Shape::Or(nodes) => Ok(Test::Or(all(nodes)?)),
        Shape::And(nodes) => Ok(Test::And(all(nodes)?)),
        Shape::Not(inner) => Ok(Test::Not(Box::new(test(inner)?))),
        Shape::Equal(left, right) => Ok(Test::Equal(compared(left, "==")?, compared(right, "==")?)),
        Shape::NotEqual(left, right) => Ok(Test::NotEqual(compared(left, "!=")?, compared(right, "!=")?)),
        Shape::Call(name, arguments) => call(node, name, arguments),
        Shape::Text(_) | Shape::Name(_) | Shape::Index(..) => {
            Err(node.error("a condition is needed here, such as labels[\"env\"] == \"prod\""))
        }
    }
}

fn call(node: &Node, name: &str, arguments: &[Node]) -> Result<Test, SyntaxError> {
    match (name, arguments) {
        ("contains", [items, item]) => Ok(Test::Contains(list(items)?, text(item)?)),
        ("contains_any", [items, wanted]) => Ok(Test::ContainsAny(list(items)?, list(wanted)?)),
        ("contains_all", [items, wanted]) => Ok(Test::ContainsAll(list(items)?, list(wanted)?)),
        ("regexp.match", [items, re]) => Ok(Test::Match(list(items)?, pattern(re)?)),
        ("contains" | "contains_any" | "contains_all" | "regexp.match", _) => {
            Err(node.error(format!("{name} takes two arguments")))
        }
        _ => Err(node.error(format!(
            "there is no condition {name}(...); known are contains, contains_any, contains_all and regexp.match"
        ))),
    }
}

fn compared(node: &Node, operator: &str) -> Result<Text, SyntaxError> {
    if list_only(node) {
        return Err(node.error(format!("operator ({operator}) not supported for a list; use contains")));
    }
    text(node)
}

fn list_only(node: &Node) -> bool {
    match &node.shape {
        Shape::Index(name, _) => name == "user.spec.traits",
        Shape::Call(..) => list(node).is_ok(),
        _ => false,
    }
}

fn text(node: &Node) -> Result<Text, SyntaxError> {
    match &node.shape {
        Shape::Text(text) => Ok(Text::Constant(text.clone())),
        Shape::Index(name, key) if name == "labels" => Ok(Text::Label(key.clone())),
        _ => Err(node.error("a text is needed here: labels[\"key\"] or a constant in quotes")),
    }
}

fn list(node: &Node) -> Result<List, SyntaxError> {
    match &node.shape {
        Shape::Index(name, key) if name == "user.spec.traits" => Ok(List::Trait(key.clone())),
        Shape::Call(name, arguments) => list_call(node, name, arguments),
        Shape::Name(name) => Err(node
            .error(format!("unknown name {name}; known are labels[\"key\"] and user.spec.traits[\"name\"]"))),
        _ => text(node).map(List::One),
    }
}

fn list_call(node: &Node, name: &str, arguments: &[Node]) -> Result<List, SyntaxError> {
    let boxed = |node| list(node).map(Box::new);
    match (name, arguments) {
        ("regexp.replace", [items, re, replacement]) => {
            Ok(List::Replace(boxed(items)?, replaced_regex(re)?, replacement.constant()?.to_owned()))
        }
        ("email.local", [items]) => Ok(List::EmailLocal(boxed(items)?)),
        ("strings.upper", [items]) => Ok(List::Upper(boxed(items)?)),
        ("strings.lower", [items]) => Ok(List::Lower(boxed(items)?)),
        ("labels_matching", [re]) => Ok(List::LabelsMatching(pattern(re)?)),
        ("regexp.replace", _) => Err(node.error("regexp.replace takes three arguments")),
        ("email.local" | "strings.upper" | "strings.lower" | "labels_matching", _) => {
            Err(node.error(format!("{name} takes one argument")))
        }
        _ => Err(node.error(format!("{name}(...) does not make a list"))),
    }
}

fn pattern(node: &Node) -> Result<Pattern, SyntaxError> {
    Pattern::new(node.constant()?).map_err(|error: PatternError| node.error(error.to_string()))
}

/// A glob becomes an expression in which each `*` is a group, so that `$1` means something.
fn replaced_regex(node: &Node) -> Result<Regex, SyntaxError> {
    let source = node.constant()?;
    let regex = match source.starts_with('^') && source.ends_with('$') {
        true => bounded_regex(source),
        false => bounded_regex(&format!("^{}$", regex::escape(source).replace(r"\*", "(.*)"))),
    };
    regex.map_err(|error| node.error(error.to_string()))
}

struct Data<'a> {
    labels: &'a Labels,
    traits: &'a Traits,
}

impl Data<'_> {
    fn test(&self, test: &Test) -> Result<bool, EvaluationError> {
        match test {
            Test::Or(tests) => self.first(tests, true),
            Test::And(tests) => self.first(tests, false),
            Test::Not(inner) => Ok(!self.test(inner)?),
            Test::Equal(left, right) => Ok(self.text(left) == self.text(right)),
            Test::NotEqual(left, right) => Ok(self.text(left) != self.text(right)),
            Test::Contains(items, item) => {
                let item = self.text(item);
                Ok(self.list(items)?.iter().any(|found| found == item))
            }
            Test::ContainsAny(items, wanted) => {
                let items = self.list(items)?;
                Ok(self.list(wanted)?.iter().any(|item| items.contains(item)))
            }
            Test::ContainsAll(items, wanted) => {
                let (items, wanted) = (self.list(items)?, self.list(wanted)?);
                Ok(!wanted.is_empty() && wanted.iter().all(|item| items.contains(item)))
            }
            Test::Match(items, pattern) => Ok(self.list(items)?.iter().any(|item| pattern.fits(item))),
        }
    }

    /// Evaluates in order until one test yields `wanted`.
    fn first(&self, tests: &[Test], wanted: bool) -> Result<bool, EvaluationError> {
        for test in tests {
            if self.test(test)? == wanted {
                return Ok(wanted);
            }
        }
        Ok(!wanted)
    }

    fn text<'t>(&'t self, text: &'t Text) -> &'t str {
        match text {
            Text::Constant(text) => text,
            Text::Label(key) => self.labels.value(key).unwrap_or_default(),
        }
    }

    fn list(&self, list: &List) -> Result<Vec<String>, EvaluationError> {
        match list {
            List::One(text) => Ok(vec![self.text(text).to_owned()]),
            List::Trait(name) => Ok(self.traits.values(name).to_vec()),
            List::Replace(items, regex, replacement) => {
                let items = self.list(items)?.into_iter().filter(|item| regex.is_match(item));
                items.map(|item| replaced(&item, regex, replacement)).collect()
            }
            List::EmailLocal(items) => self
                .list(items)?
                .into_iter()
                .map(|item| email_local(&item).map(str::to_owned).ok_or(EvaluationError::NotAnAddress(item)))
                .collect(),
            List::Upper(items) => Ok(self.list(items)?.iter().map(|item| item.to_uppercase()).collect()),
            List::Lower(items) => Ok(self.list(items)?.iter().map(|item| item.to_lowercase()).collect()),
            List::LabelsMatching(keys) => {
                Ok(self.labels.0.iter().filter(|(key, _)| keys.fits(key)).map(|(_, v)| v.clone()).collect())
            }
        }
    }
}

/// Bounded, because nested replacements could double a value at every level.
fn replaced(item: &str, regex: &Regex, replacement: &str) -> Result<String, EvaluationError> {
    let value = regex.replace_all(item, replacement);
    match value.len() <= MAX_VALUE {
        true => Ok(value.into_owned()),
        false => Err(EvaluationError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::LabelExpression;
    use crate::{Labels, Traits};

    fn holds(source: &str) -> Result<bool, String> {
        let labels: Labels =
            [("env", "staging"), ("team", "Core"), ("svc-a", "x"), ("svc-b", "y")].into_iter().collect();
        let traits = Traits::from_iter([
            ("teams", vec!["core", "web"]),
            ("mail", vec!["Alice <alice@example.com>"]),
            ("broken", vec!["nobody"]),
            ("envs", vec!["env-staging", "other"]),
        ]);
        let expression = LabelExpression::new(source).map_err(|error| error.to_string())?;
        expression.holds(&labels, &traits).map_err(|error| error.to_string())
    }

    #[test]
    fn every_word_of_the_language_works() {
        for (source, expected) in [
            (r#"labels["env"] == "staging""#, true),
            (r#"labels["env"] != "staging""#, false),
            (r#"labels["absent"] == """#, true),
            (r#"!(labels["env"] == "prod") && labels["team"] == "Core""#, true),
            (r#"labels["env"] == "prod" || labels["team"] == "Core" // or so"#, true),
            (r#"contains(user.spec.traits["teams"], "web")"#, true),
            (r#"contains(user.spec.traits["teams"], labels["team"])"#, false),
            (r#"contains(user.spec.traits["none"], "")"#, false),
            (r#"contains_any(user.spec.traits["teams"], strings.lower(labels["team"]))"#, true),
            (r#"contains_any(user.spec.traits["none"], labels["team"])"#, false),
            (r#"contains_all(user.spec.traits["teams"], user.spec.traits["teams"])"#, true),
            (r#"contains_all(user.spec.traits["teams"], labels_matching("svc-*"))"#, false),
            (r#"contains_all(user.spec.traits["teams"], user.spec.traits["none"])"#, false),
            (r#"contains_all(labels_matching("svc-*"), labels["svc-a"])"#, true),
            (r#"contains(labels_matching("^svc-[b]$"), "y")"#, true),
            (r#"regexp.match(labels["env"], "stag*")"#, true),
            (r#"regexp.match(labels["env"], "^(prod|test)$")"#, false),
            (r#"regexp.match(user.spec.traits["teams"], "w*")"#, true),
            (r#"contains(regexp.replace(user.spec.traits["envs"], "env-*", "$1"), labels["env"])"#, true),
            (r#"contains(regexp.replace(user.spec.traits["envs"], "env-*", "$1"), "other")"#, false),
            (r#"contains(regexp.replace(user.spec.traits["envs"], `^env-(\w+)$`, "$1"), "staging")"#, true),
            (r#"contains(email.local(user.spec.traits["mail"]), "alice")"#, true),
            (r#"contains(strings.upper(labels["team"]), "CORE")"#, true),
        ] {
            assert_eq!(holds(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (source, part) in [
            (r#"user.spec.traits["teams"] == "web""#, "operator (==) not supported"),
            (r#"labels["a"] != strings.lower(labels["b"])"#, "operator (!=) not supported"),
            (r#"labels["a"]"#, "a condition is needed"),
            (r#""a""#, "a condition is needed"),
            (r#"labels == "a""#, "a text is needed"),
            (r#"contains(user.spec.roles, "a")"#, "unknown name"),
            (r#"contains(labels["a"])"#, "two arguments"),
            (r#"has(labels["a"], "b")"#, "no condition"),
            (r#"regexp.match(labels["a"], labels["b"])"#, "in quotes"),
            (r#"regexp.match(labels["a"], "^[$")"#, "not a regular expression"),
            (r#"contains(strings.title(labels["a"]), "b")"#, "does not make a list"),
            (r#"contains(strings.upper(), "b")"#, "one argument"),
        ] {
            let error = holds(source).expect_err(source);
            assert!(error.contains(part), "{source}: {error}");
        }
    }

    #[test]
    fn a_broken_address_is_an_error_and_not_a_no() {
        let error = holds(r#"contains(email.local(user.spec.traits["broken"]), "nobody")"#);
        assert_eq!(error, Err("\"nobody\" is not an e-mail address".to_owned()));
    }

    #[test]
    fn nested_replacements_cannot_grow_without_bound() {
        let doubled = (0..20).fold(r#"user.spec.traits["teams"]"#.to_owned(), |inner, _| {
            format!("regexp.replace({inner}, `^(.*)$`, `$1$1`)")
        });
        let error = holds(&format!("contains({doubled}, \"x\")")).expect_err("too long");
        assert!(error.contains("longer than"), "{error}");
    }
}
