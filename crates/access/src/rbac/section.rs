//! The allow or the deny part of a role, compiled for one identity.
//!
//! Decoding refuses what cannot be parsed, so broken parts come only from roles that were built in code. They
//! are compiled to the safe side all the same: broken in deny refuses everything, broken in allow grants nothing.

use super::api::CompiledRule;
use super::impersonate::CompiledImpersonate;
use super::spiffe::CompiledSpiffe;
use crate::label::{Labels, Pattern, Selector};
use crate::predicate::LabelExpression;
use crate::resource::role::{Conditions, LabelSelector};
use crate::template::{Template, Unfilled};
use crate::{Login, Traits};
use std::collections::BTreeSet;
use std::fmt;

/// Which part of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Allow,
    Deny,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Section {
    pub side: Side,
    /// Whether `namespaces` names the only one there is.
    pub applies: bool,
    pub logins: BTreeSet<Login>,
    /// Entries of `logins` that came to nothing, and why.
    pub dropped: Vec<(String, String)>,
    /// An entry failed on the user's traits, so nobody can tell which logins it means.
    pub unclear: bool,
    /// As written, for explanations; nothing when unset.
    pub written_labels: Option<String>,
    selector: Selector,
    pub written_expression: Option<String>,
    expression: Option<Expression>,
    pub rules: Vec<CompiledRule>,
    pub impersonate: Option<CompiledImpersonate>,
    pub spiffe: Vec<CompiledSpiffe>,
}

#[derive(Debug, Clone)]
enum Expression {
    Parsed(LabelExpression),
    Broken,
}

/// What speaks about a node in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    FitsNot,
    /// Nothing is said about it.
    Unset,
}

impl Section {
    pub fn compile(conditions: &Conditions, side: Side, traits: &Traits) -> Self {
        let namespaces = conditions.namespaces.as_deref().unwrap_or_default();
        let Logins { logins, dropped, unclear } = logins(&conditions.logins, traits);
        let labels = conditions.node_labels.as_ref().filter(|labels| !labels.is_empty());
        let expression = Some(&conditions.node_labels_expression).filter(|source| !source.is_empty());
        Self {
            side,
            applies: namespaces.is_empty() || namespaces.iter().any(|name| name == "default" || name == "*"),
            logins,
            dropped,
            unclear,
            written_labels: labels.map(|labels| format!("{labels:?}")),
            selector: labels.map(|labels| selector(labels, side, traits)).unwrap_or_default(),
            written_expression: expression.cloned(),
            expression: expression.map(|source| match LabelExpression::new(source) {
                Ok(parsed) => Expression::Parsed(parsed),
                Err(_) => Expression::Broken,
            }),
            rules: CompiledRule::compile_all(&conditions.rules),
            impersonate: conditions
                .impersonate
                .as_ref()
                .map(|impersonate| CompiledImpersonate::compile(impersonate, traits)),
            spiffe: conditions.spiffe.iter().map(CompiledSpiffe::compile).collect(),
        }
    }

    /// What `node_labels` says about a node.
    pub fn labels_fit(&self, labels: &Labels) -> Fit {
        match self.written_labels {
            None => Fit::Unset,
            Some(_) => fit(self.selector.fits(labels)),
        }
    }

    /// What `node_labels_expression` says; one that fails on the data refuses.
    pub fn expression_fit(&self, labels: &Labels, traits: &Traits) -> Fit {
        let safe_side = self.side == Side::Deny;
        match &self.expression {
            None => Fit::Unset,
            Some(Expression::Broken) => fit(safe_side),
            Some(Expression::Parsed(expression)) => {
                fit(expression.holds(labels, traits).unwrap_or(safe_side))
            }
        }
    }

    /// Whether an allow section reaches a node: what is set must fit, and something must be set.
    pub fn reaches(&self, labels: &Labels, traits: &Traits) -> bool {
        let fits = [self.labels_fit(labels), self.expression_fit(labels, traits)];
        self.applies && fits.contains(&Fit::Fits) && !fits.contains(&Fit::FitsNot)
    }

    /// The entries of `logins` were there, whatever became of them.
    pub fn lists_logins(&self) -> bool {
        !self.logins.is_empty() || !self.dropped.is_empty()
    }
}

fn fit(fits: bool) -> Fit {
    if fits { Fit::Fits } else { Fit::FitsNot }
}

#[derive(Default)]
struct Logins {
    logins: BTreeSet<Login>,
    dropped: Vec<(String, String)>,
    unclear: bool,
}

/// Fills the templates; what is no account name afterwards is dropped. A trait that is not there means no login.
fn logins(entries: &[String], traits: &Traits) -> Logins {
    let mut found = Logins::default();
    for entry in entries {
        let filled = match Template::new(entry) {
            Ok(template) => template.fill(traits),
            Err(error) => {
                found.unclear = true;
                found.dropped.push((entry.clone(), error.to_string()));
                continue;
            }
        };
        match filled {
            Ok(values) => {
                for value in values {
                    match unix_login(&value) {
                        Ok(login) => {
                            found.logins.insert(login);
                        }
                        Err(reason) => found.dropped.push((entry.clone(), reason)),
                    }
                }
            }
            Err(unfilled) => {
                found.unclear |= !matches!(unfilled, Unfilled::NoTrait(_) | Unfilled::NoValue);
                found.dropped.push((entry.clone(), unfilled.to_string()));
            }
        }
    }
    found
}

fn unix_login(value: &str) -> Result<Login, String> {
    const MAX: usize = 32;
    match value.len() <= MAX {
        true => Login::new(value).map_err(|error| error.to_string()),
        false => Err(format!("login {value:?} is longer than {MAX} bytes")),
    }
}

fn filled(text: &str, traits: &Traits) -> Result<Vec<String>, String> {
    let template = Template::new(text).map_err(|error| error.to_string())?;
    template.fill(traits).map_err(|error| error.to_string())
}

/// Keys take the first value of their template, values take all; what cannot be filled becomes empty text.
fn selector(labels: &LabelSelector, side: Side, traits: &Traits) -> Selector {
    let mut texts = labels.iter().flat_map(|(key, values)| std::iter::once(key).chain(values));
    if texts.any(|text| Template::new(text).is_err()) {
        return if side == Side::Deny { Selector::Everything } else { Selector::Nothing };
    }
    let mut keys = Vec::new();
    for (key, values) in labels {
        let key = filled(key, traits).ok().and_then(|values| values.into_iter().next()).unwrap_or_default();
        let values: Vec<String> = values
            .iter()
            .flat_map(|value| filled(value, traits).unwrap_or_else(|_| vec![String::new()]))
            .collect();
        if key == "*" && values == ["*"] {
            return Selector::Everything;
        }
        keys.push((key, values.iter().filter_map(|value| pattern(value, side)).collect()));
    }
    Selector::Keys(keys)
}

/// A trait may hold what is no pattern: then allow fits no value, and deny fits every value.
fn pattern(value: &str, side: Side) -> Option<Pattern> {
    Pattern::new(value).ok().or_else(|| (side == Side::Deny).then_some(Pattern::Any))
}
