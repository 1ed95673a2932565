//! Templates: `prefix-{{internal.logins}}-suffix`, filled from a user's traits (fact sheet, section 2.6).

mod email;
mod matcher;

pub use email::email_local;
pub use matcher::Matcher;

use crate::Traits;
use crate::label::bounded_regex;
use crate::predicate::SyntaxError;
use crate::predicate::syntax::{Node, Shape, parse};
use regex::Regex;

/// A checked template.
#[derive(Debug, Clone)]
pub enum Template {
    /// Text without braces, taken as it is.
    Literal(String),
    /// Text around one expression.
    Filled {
        /// Before each value.
        prefix: String,
        /// Yields the values.
        expression: Expression,
        /// After each value.
        suffix: String,
    },
}

/// What stands between the braces.
#[derive(Debug, Clone)]
pub enum Expression {
    /// `internal.x` or `external.x`: every value of a trait.
    Trait(String),
    /// `email.local(...)`: the part before the `@`.
    EmailLocal(Box<Expression>),
    /// `regexp.replace(..., "re", "replacement")`: values that do not fit are dropped.
    Replace(Box<Expression>, Regex, String),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}` and the like.
    #[error(
        "{0:?} has braces that do not belong together; a template has the form prefix{{{{expression}}}}suffix"
    )]
    Braces(String),
    /// The expression cannot be read.
    #[error("in {template:?}: {error}")]
    Syntax {
        /// The whole template.
        template: String,
        /// What is wrong inside the braces.
        error: SyntaxError,
    },
}

/// Why a template yields nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// The trait is absent or empty.
    #[error("the user has no trait {0}")]
    NoTrait(String),
    /// No value is left after the functions.
    #[error("no value of the trait fits")]
    NoValue,
    /// `email.local` of something else.
    #[error("{0:?} is not an e-mail address")]
    NotAnAddress(String),
    /// A value grew beyond any use.
    #[error("a value is longer than {MAX_VALUE} bytes")]
    TooLong,
}

const MAX_VALUE: usize = 4096;

/// The traits that `internal` may name; `external` may name any.
const INTERNAL: [&str; 13] = [
    "logins",
    "windows_logins",
    "kubernetes_groups",
    "kubernetes_users",
    "db_names",
    "db_users",
    "db_roles",
    "aws_role_arns",
    "azure_identities",
    "gcp_service_accounts",
    "jwt",
    "host_user_uid",
    "host_user_gid",
];

impl Template {
    /// Parses one template.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let Some(parts) = split(text)? else {
            return Ok(Self::Literal(text.to_owned()));
        };
        let expression = parse(parts.expression)
            .and_then(|node| expression(&node))
            .map_err(|error| TemplateError::Syntax { template: shortened(text), error })?;
        let (prefix, suffix) = (parts.prefix.trim_start().to_owned(), parts.suffix.trim_end().to_owned());
        Ok(Self::Filled { prefix, expression, suffix })
    }

    /// Every value, with prefix and suffix around each; never an empty list.
    pub fn fill(&self, traits: &Traits) -> Result<Vec<String>, Unfilled> {
        let (prefix, expression, suffix) = match self {
            Self::Literal(text) => return Ok(vec![text.clone()]),
            Self::Filled { prefix, expression, suffix } => (prefix, expression, suffix),
        };
        // An empty value would leave the bare prefix and suffix, which nobody granted.
        let values = expression.values(traits)?.into_iter().filter(|value| !value.is_empty());
        let filled: Vec<String> = values.map(|value| format!("{prefix}{value}{suffix}")).collect();
        match filled.is_empty() {
            true => Err(Unfilled::NoValue),
            false => Ok(filled),
        }
    }
}

impl Expression {
    fn values(&self, traits: &Traits) -> Result<Vec<String>, Unfilled> {
        match self {
            Self::Trait(name) => match traits.values(name) {
                [] => Err(Unfilled::NoTrait(name.clone())),
                values => Ok(values.to_vec()),
            },
            Self::EmailLocal(inner) => {
                let local = |value: String| match email_local(&value) {
                    Some(local) => Ok(local.to_owned()),
                    None => Err(Unfilled::NotAnAddress(value)),
                };
                inner.values(traits)?.into_iter().map(local).collect()
            }
            Self::Replace(inner, regex, replacement) => {
                let values = inner.values(traits)?;
                let fitting = values.iter().filter(|value| regex.is_match(value));
                let replaced: Vec<String> =
                    fitting.map(|value| regex.replace_all(value, replacement).into_owned()).collect();
                match replaced.iter().any(|value| value.len() > MAX_VALUE) {
                    true => Err(Unfilled::TooLong),
                    false => Ok(replaced),
                }
            }
        }
    }
}

/// The three parts of a text with one pair of double braces.
struct Parts<'a> {
    prefix: &'a str,
    expression: &'a str,
    suffix: &'a str,
}

/// Nothing for a text without double braces; single ones are ordinary there (`^a{2}$` is a label pattern).
fn split(text: &str) -> Result<Option<Parts<'_>>, TemplateError> {
    let wrong = || TemplateError::Braces(shortened(text));
    let (start, end) = match (text.find("{{"), text.rfind("}}")) {
        (None, None) => return Ok(None),
        (Some(start), Some(end)) if start + 2 <= end => (start, end),
        _ => return Err(wrong()),
    };
    let parts =
        Parts { prefix: &text[..start], expression: text[start + 2..end].trim(), suffix: &text[end + 2..] };
    match [parts.prefix, parts.suffix].iter().any(|part| part.contains(['{', '}'])) {
        true => Err(wrong()),
        false => Ok(Some(parts)),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

fn expression(node: &Node) -> Result<Expression, SyntaxError> {
    match &node.shape {
        Shape::Name(name) => match name.split_once('.') {
            Some((namespace, name)) => named(node, namespace, name),
            None => Err(node.error(format!("{name} is neither internal.<trait> nor external.<trait>"))),
        },
        Shape::Index(namespace, name) => named(node, namespace, name),
        Shape::Call(name, arguments) => call(node, name, arguments),
        _ => Err(node.error("a trait is needed here: internal.<trait> or external.<trait>")),
    }
}

fn named(node: &Node, namespace: &str, name: &str) -> Result<Expression, SyntaxError> {
    if name.is_empty() {
        return Err(node.error("the trait has no name"));
    }
    match namespace {
        "external" if !name.contains('.') || matches!(node.shape, Shape::Index(..)) => {
            Ok(Expression::Trait(name.to_owned()))
        }
        "internal" if INTERNAL.contains(&name) => Ok(Expression::Trait(name.to_owned())),
        "internal" => Err(node.error(format!(
            "unsupported variable internal.{name}; internal has {}; write external.{name} for any other trait",
            INTERNAL.join(", ")
        ))),
        _ => Err(node.error(format!("unknown variable {namespace}.{name}; write internal.<trait> or external.<trait>"))),
    }
}

fn call(node: &Node, name: &str, arguments: &[Node]) -> Result<Expression, SyntaxError> {
    match (name, arguments) {
        ("email.local", [inner]) => Ok(Expression::EmailLocal(Box::new(expression(inner)?))),
        ("regexp.replace", [inner, re, replacement]) => {
            let regex = bounded_regex(re.constant()?).map_err(|error| re.error(error.to_string()))?;
            Ok(Expression::Replace(Box::new(expression(inner)?), regex, replacement.constant()?.to_owned()))
        }
        ("email.local", _) => Err(node.error("email.local takes one argument")),
        ("regexp.replace", _) => Err(node.error("regexp.replace takes three arguments")),
        ("regexp.match" | "regexp.not_match", _) => {
            Err(node.error(format!("{name} has a place in impersonation only")))
        }
        _ => {
            Err(node.error(format!("there is no function {name}; known are email.local and regexp.replace")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Template;
    use crate::Traits;
    use proptest::prelude::*;

    fn fill(template: &str) -> Result<Vec<String>, String> {
        let traits = Traits::from_iter([
            ("logins", vec!["root", "deploy"]),
            ("mail", vec!["Alice <alice@example.com>", "bob@example.com"]),
            ("broken", vec!["nobody"]),
            ("groups", vec!["env-prod", "env-dev", "other"]),
            ("a.b", vec!["dotted"]),
            ("blank", vec!["", "x"]),
            ("empty", vec![]),
        ]);
        let template = Template::new(template).map_err(|error| error.to_string())?;
        template.fill(&traits).map_err(|error| error.to_string())
    }

    #[test]
    fn templates_fill_as_the_fact_sheet_says() {
        for (template, expected) in [
            ("root", vec!["root"]),
            (" kept ", vec![" kept "]),
            ("^a{2}$", vec!["^a{2}$"]),
            ("{{internal.logins}}", vec!["root", "deploy"]),
            ("{{external.logins}}", vec!["root", "deploy"]),
            ("{{ internal.logins }}", vec!["root", "deploy"]),
            (r#"{{internal["logins"]}}"#, vec!["root", "deploy"]),
            (r#"{{external["a.b"]}}"#, vec!["dotted"]),
            ("  a {{external.logins}} b  ", vec!["a root b", "a deploy b"]),
            ("dev-{{external.logins}}-x", vec!["dev-root-x", "dev-deploy-x"]),
            ("{{email.local(external.mail)}}", vec!["alice", "bob"]),
            (r#"{{regexp.replace(external.groups, "^env-(.*)$", "$1")}}"#, vec!["prod", "dev"]),
            (r#"{{regexp.replace(external.groups, "^env-(.*)$", "${1}x")}}"#, vec!["prodx", "devx"]),
            (r#"{{regexp.replace(external.groups, "^env-(?P<e>.{3})$", "$e")}}"#, vec!["dev"]),
            (r#"{{regexp.replace(external.groups, "e", "_")}}"#, vec!["_nv-prod", "_nv-d_v", "oth_r"]),
            (r#"{{regexp.replace(email.local(external.mail), "ali", "A")}}"#, vec!["Ace"]),
            ("p-{{external.blank}}", vec!["p-x"]),
        ] {
            assert_eq!(fill(template), Ok(expected.into_iter().map(str::to_owned).collect()), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_filled_says_why() {
        for (template, reason) in [
            ("{{external.none}}", "the user has no trait none"),
            ("{{external.empty}}", "the user has no trait empty"),
            ("{{email.local(external.broken)}}", "\"nobody\" is not an e-mail address"),
            (r#"{{regexp.replace(external.logins, "^x$", "y")}}"#, "no value of the trait fits"),
            (r#"{{regexp.replace(external.logins, "^.*$", "")}}"#, "no value of the trait fits"),
        ] {
            assert_eq!(fill(template), Err(reason.to_owned()), "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, part) in [
            ("{{external.a", "braces"),
            ("external.a}}", "braces"),
            ("}}{{", "braces"),
            ("{{{external.a}}", "not part of the language"),
            ("{x}{{external.a}}", "braces"),
            ("{{external.a}}{{external.b}}", "not part of the language"),
            ("{{}}", "ends too early"),
            ("{{external}}", "neither"),
            ("{{external.a.b}}", "unknown variable"),
            ("{{internal.a.b}}", "unsupported variable"),
            (r#"{{external[""]}}"#, "no name"),
            ("{{external.}}", "must follow"),
            ("{{internal.shoe_size}}", "unsupported variable"),
            ("{{user.name}}", "unknown variable"),
            (r#"{{"root"}}"#, "a trait is needed"),
            ("{{email.local}}", "unknown variable"),
            ("{{email.local(external.a, external.b)}}", "one argument"),
            (r#"{{regexp.replace(external.a, "x")}}"#, "three arguments"),
            (r#"{{regexp.replace(external.a, external.b, "x")}}"#, "in quotes"),
            (r#"{{regexp.replace(external.a, "x", external.b)}}"#, "in quotes"),
            (r#"{{regexp.replace(external.a, "[", "x")}}"#, "not a regular expression"),
            (r#"{{regexp.match("x")}}"#, "impersonation only"),
            (r#"{{strings.upper(external.a)}}"#, "no function"),
        ] {
            let error = fill(template).expect_err(template);
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[{}a-z.()\"\\[\\], ]{0,40}") {
            let _ = fill(&text);
        }
    }
}
