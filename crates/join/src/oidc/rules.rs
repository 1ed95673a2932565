//! Claims against rules, field by field. The answer is data: whoever wants to know why a job was refused reads it.

use super::Claims;
use access::resource::token::Oidc;
use access::resource::token::oidc::{Claim, Compare, Field, Wanted};
use serde_json::Value;

/// What was found of one field of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rule, from 0.
    pub rule: usize,
    /// The field.
    pub field: &'static str,
    /// What the rule wants.
    pub wanted: String,
    /// What the ID token says.
    pub found: String,
    /// Whether that fits.
    pub fits: bool,
}

/// What the rules say of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The first rule that lets it in.
    pub rule: Option<usize>,
    /// Every field of every rule up to that one.
    pub checks: Vec<Check>,
}

/// Judges claims by the rules of a token: any one of them is enough, and all of its fields must fit.
pub fn judge(oidc: &Oidc, claims: &Claims) -> Verdict {
    let fields = oidc.provider.table().fields;
    let mut checks = Vec::new();
    for (number, rule) in oidc.allow.iter().enumerate() {
        let mut fits = !rule.is_empty();
        for (name, wanted) in rule {
            let check = match fields.iter().find(|field| field.name == *name) {
                Some(field) => check(oidc, field, wanted, claims, number),
                // No resource is decoded with such a field.
                None => Check {
                    rule: number,
                    field: name,
                    wanted: wanted.to_string(),
                    found: String::new(),
                    fits: false,
                },
            };
            fits &= check.fits;
            checks.push(check);
        }
        if fits {
            return Verdict { rule: Some(number), checks };
        }
    }
    Verdict { rule: None, checks }
}

fn check(oidc: &Oidc, field: &Field, wanted: &Wanted, claims: &Claims, rule: usize) -> Check {
    let found = values(field.claim, claims);
    let one = |wanted: &str, found: &str| match field.compare {
        Compare::Glob => matches(wanted.as_bytes(), found.as_bytes()),
        Compare::GlobIfEnabled if oidc.globs => matches(wanted.as_bytes(), found.as_bytes()),
        Compare::Place => {
            found == wanted || found.rsplit_once('-').is_some_and(|(region, _)| region == wanted)
        }
        Compare::AnyCase | Compare::OneOfAnyCase => found.eq_ignore_ascii_case(wanted),
        Compare::Exact | Compare::GlobIfEnabled | Compare::Flag | Compare::OneOf => found == wanted,
    };
    let fits = found.iter().any(|found| wanted.all().iter().any(|wanted| one(wanted, found)));
    let found = match found.as_slice() {
        [] => "missing".to_owned(),
        some => some.iter().map(|found| quoted(found)).collect::<Vec<_>>().join(", "),
    };
    Check { rule, field: field.name, wanted: wanted.to_string(), found, fits }
}

/// The values of a field in the claims; more than one where the claim is a list.
fn values(claim: Claim, claims: &Claims) -> Vec<String> {
    let one = |text: Option<&str>| text.map(str::to_owned).into_iter().collect();
    match claim {
        Claim::Text(name) => match claims.get(name) {
            Some(Value::Bool(flag)) => vec![flag.to_string()],
            Some(Value::Number(number)) => vec![number.to_string()],
            _ => one(claims.text(name)),
        },
        Claim::At(place) => one(claims.at(place)),
        Claim::Among(name) => match claims.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![],
        },
        Claim::ServiceAccount => {
            one(claims.text("sub").and_then(|sub| sub.strip_prefix("system:serviceaccount:")))
        }
        Claim::PipelinePart(part) => {
            let path = claims.text("sub").and_then(|sub| sub.strip_prefix("p://"));
            // Exactly three parts: a fourth could make one name pass for another.
            let parts: Vec<&str> = path.unwrap_or_default().split('/').collect();
            one(parts.get(part).copied().filter(|_| parts.len() == 3))
        }
    }
}

/// `*` is any text, `?` any one byte. Takes at most the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut on, mut star) = (0, 0, None);
    while on < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, on));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[on] => {
                at += 1;
                on += 1;
            }
            _ => match &mut star {
                // The last star takes one more.
                Some((after, taken)) => {
                    *taken += 1;
                    (at, on) = (*after + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

/// A claim as administrators see it: short, and without what would move a terminal.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string().chars().take(256).collect(),
    }
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(256).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abcc", true),
            ("a*b*c", "aXbXbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("refs/heads/release-*", "refs/heads/release-1", true),
            ("refs/heads/release-*", "refs/heads/main", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn patterns_end(pattern in "[ab*?]{0,40}", text in "[ab]{0,200}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
        }
    }
}
