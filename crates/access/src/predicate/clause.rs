//! `where` clauses of rules and of impersonation (fact sheet, section 2.8).
//!
//! A clause that needs something which is not at hand is not fulfilled, whatever surrounds it: `!equals(x, y)`
//! without `x` is neither true nor false, and what is neither grants nothing.

use super::syntax::{Node, Shape, SyntaxError, parse};
use crate::resource::{Metadata, Role, User};
use crate::{RoleName, Traits};
use std::collections::BTreeMap;

/// A checked clause.
#[derive(Debug, Clone)]
pub struct Clause(Test);

/// What a clause may speak of.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The caller's name.
    pub user: &'a str,
    /// The caller's roles.
    pub roles: &'a [RoleName],
    /// The caller's traits.
    pub traits: &'a Traits,
    /// The resource acted on, if there is one.
    pub resource: Option<ResourceView<'a>>,
    /// The role asked for.
    pub impersonate_role: Option<&'a Role>,
    /// The user asked for.
    pub impersonate_user: Option<&'a User>,
}

/// What clauses see of a resource.
#[derive(Debug, Clone, Copy)]
pub struct ResourceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Who took part, where it is a session.
    pub participants: Option<&'a [String]>,
    /// The names that are asked for, where it is a host certificate.
    pub principals: Option<&'a [String]>,
}

impl<'a> From<&'a Metadata> for ResourceView<'a> {
    fn from(metadata: &'a Metadata) -> Self {
        Self { name: &metadata.name, labels: &metadata.labels, participants: None, principals: None }
    }
}

#[derive(Debug, Clone)]
enum Test {
    Or(Vec<Test>),
    And(Vec<Test>),
    Not(Box<Test>),
    Contains(Operand, Operand),
    Equals(Operand, Operand),
    /// Each value of the list, of which there is one at least, passes.
    Each(Operand, Each),
}

/// What each value of a list must be.
#[derive(Debug, Clone)]
enum Each {
    EndsWith(String),
    OneOf(Vec<String>),
}

#[derive(Debug, Clone)]
enum Operand {
    Constant(String),
    UserName,
    UserRoles,
    UserTrait(String),
    ResourceName,
    ResourceLabel(String),
    Participants,
    HostCertPrincipals,
    ImpersonateRoleName,
    ImpersonateRoleLabel(String),
    ImpersonateUserName,
    ImpersonateUserLabel(String),
    ImpersonateUserRoles,
    ImpersonateUserTrait(String),
}

/// A value in a clause; a list is a list of texts.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Text(&'a str),
    List(Vec<&'a str>),
}

impl Clause {
    /// Parses and types a clause.
    pub fn new(source: &str) -> Result<Self, SyntaxError> {
        test(&parse(source)?).map(Self)
    }

    /// Whether the clause is fulfilled.
    pub fn holds(&self, context: &Context<'_>) -> bool {
        context.test(&self.0).unwrap_or(false)
    }
}

fn test(node: &Node) -> Result<Test, SyntaxError> {
    let all = |nodes: &[Node]| nodes.iter().map(test).collect::<Result<Vec<_>, _>>();
    match &node.shape {
        Shape::Or(nodes) => Ok(Test::Or(all(nodes)?)),
        Shape::And(nodes) => Ok(Test::And(all(nodes)?)),
        Shape::Not(inner) => Ok(Test::Not(Box::new(test(inner)?))),
        Shape::Call(name, arguments) => call(node, name, arguments),
        Shape::Equal(..) | Shape::NotEqual(..) => Err(node.error("write equals(a, b) or !equals(a, b)")),
        _ => Err(node.error("a condition is needed here: equals(a, b) or contains(list, value)")),
    }
}

fn call(node: &Node, name: &str, arguments: &[Node]) -> Result<Test, SyntaxError> {
    match (name, arguments) {
        ("contains", [list, item]) => {
            let (items, wanted) = (operand(list)?, operand(item)?);
            match (items.is_list(), wanted.is_list()) {
                (true, false) => Ok(Test::Contains(items, wanted)),
                (false, _) => Err(list.error("the first argument of contains must be a list")),
                (true, true) => Err(item.error("the second argument of contains must be one value")),
            }
        }
        ("equals", [left, right]) => {
            let (left, other) = (operand(left)?, operand(right)?);
            match left.is_list() == other.is_list() {
                true => Ok(Test::Equals(left, other)),
                false => {
                    Err(right
                        .error("equals compares two values or two lists; use contains for one in a list"))
                }
            }
        }
        ("all_end_with", [list, suffix]) => {
            Ok(Test::Each(list_operand(list, name)?, Each::EndsWith(nonempty(suffix)?)))
        }
        ("all_equals", [list, value]) => {
            Ok(Test::Each(list_operand(list, name)?, Each::OneOf(vec![nonempty(value)?])))
        }
        ("is_subset", [list, values @ ..]) if !values.is_empty() => {
            let values = values.iter().map(nonempty).collect::<Result<_, _>>()?;
            Ok(Test::Each(list_operand(list, name)?, Each::OneOf(values)))
        }
        ("is_subset", _) => Err(node.error("is_subset takes a list and at least one value")),
        ("contains" | "equals" | "all_end_with" | "all_equals", _) => {
            Err(node.error(format!("{name} takes two arguments")))
        }
        _ => Err(node.error(format!(
            "there is no condition {name}(...); known are equals, contains, all_end_with, all_equals and is_subset"
        ))),
    }
}

fn list_operand(node: &Node, name: &str) -> Result<Operand, SyntaxError> {
    let list = operand(node)?;
    match list.is_list() {
        true => Ok(list),
        false => Err(node.error(format!("the first argument of {name} must be a list"))),
    }
}

/// Every text ends with nothing, which nobody means.
fn nonempty(node: &Node) -> Result<String, SyntaxError> {
    match node.constant()? {
        "" => Err(node.error("an empty text is no limit")),
        text => Ok(text.to_owned()),
    }
}

fn operand(node: &Node) -> Result<Operand, SyntaxError> {
    match &node.shape {
        Shape::Text(text) => Ok(Operand::Constant(text.clone())),
        Shape::Name(name) => named(name).ok_or_else(|| unknown(node, name)),
        Shape::Index(name, key) => indexed(name, key).ok_or_else(|| unknown(node, name)),
        _ => Err(node.error("a name or a text in quotes is needed here")),
    }
}

fn named(name: &str) -> Option<Operand> {
    Some(match name {
        "user.metadata.name" => Operand::UserName,
        "user.spec.roles" => Operand::UserRoles,
        "resource.metadata.name" => Operand::ResourceName,
        "session.participants" | "ssh_session.participants" => Operand::Participants,
        "host_cert.principals" => Operand::HostCertPrincipals,
        "impersonate_role.metadata.name" => Operand::ImpersonateRoleName,
        "impersonate_user.metadata.name" => Operand::ImpersonateUserName,
        "impersonate_user.spec.roles" => Operand::ImpersonateUserRoles,
        _ => return None,
    })
}

fn indexed(name: &str, key: &str) -> Option<Operand> {
    let key = key.to_owned();
    Some(match name {
        "user.spec.traits" => Operand::UserTrait(key),
        "resource.metadata.labels" => Operand::ResourceLabel(key),
        "impersonate_role.metadata.labels" => Operand::ImpersonateRoleLabel(key),
        "impersonate_user.metadata.labels" => Operand::ImpersonateUserLabel(key),
        "impersonate_user.spec.traits" => Operand::ImpersonateUserTrait(key),
        _ => return None,
    })
}

fn unknown(node: &Node, name: &str) -> SyntaxError {
    node.error(format!(
        "unknown name {name}; known are user.metadata.name, user.spec.roles, user.spec.traits[\"x\"], \
         resource.metadata.name, resource.metadata.labels[\"x\"], session.participants, \
         host_cert.principals, impersonate_role.metadata and impersonate_user.metadata"
    ))
}

impl Operand {
    fn is_list(&self) -> bool {
        match self {
            Self::UserRoles
            | Self::UserTrait(_)
            | Self::Participants
            | Self::HostCertPrincipals
            | Self::ImpersonateUserRoles
            | Self::ImpersonateUserTrait(_) => true,
            Self::Constant(_)
            | Self::UserName
            | Self::ResourceName
            | Self::ResourceLabel(_)
            | Self::ImpersonateRoleName
            | Self::ImpersonateRoleLabel(_)
            | Self::ImpersonateUserName
            | Self::ImpersonateUserLabel(_) => false,
        }
    }
}

impl Each {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::EndsWith(suffix) => value.ends_with(suffix.as_str()),
            Self::OneOf(values) => values.iter().any(|known| known == value),
        }
    }
}

impl<'a> Context<'a> {
    /// True, false, or nothing where something needed is missing.
    fn test(&self, test: &Test) -> Option<bool> {
        match test {
            Test::Or(tests) => self.first(tests, true),
            Test::And(tests) => self.first(tests, false),
            Test::Not(inner) => self.test(inner).map(|holds| !holds),
            Test::Equals(left, right) => Some(self.value(left)? == self.value(right)?),
            Test::Contains(list, item) => match (self.value(list)?, self.value(item)?) {
                (Value::List(items), Value::Text(item)) => Some(items.contains(&item)),
                _ => Some(false),
            },
            Test::Each(list, each) => match self.value(list)? {
                Value::List(items) => Some(!items.is_empty() && items.iter().all(|item| each.holds(item))),
                Value::Text(_) => Some(false),
            },
        }
    }

    /// `wanted` as soon as one test says so, however unknown the others are.
    fn first(&self, tests: &[Test], wanted: bool) -> Option<bool> {
        let results: Vec<Option<bool>> = tests.iter().map(|test| self.test(test)).collect();
        match results.contains(&Some(wanted)) {
            true => Some(wanted),
            false => results.into_iter().all(|result| result.is_some()).then_some(!wanted),
        }
    }

    fn value<'v>(&'v self, operand: &'v Operand) -> Option<Value<'v>> {
        let resource = self.resource.as_ref();
        Some(match operand {
            Operand::Constant(text) => Value::Text(text),
            Operand::UserName => Value::Text(self.user),
            Operand::UserRoles => Value::List(self.roles.iter().map(RoleName::as_str).collect()),
            Operand::UserTrait(name) => list(self.traits.values(name)),
            Operand::ResourceName => Value::Text(resource?.name),
            Operand::ResourceLabel(key) => label(resource?.labels, key),
            Operand::Participants => list(resource?.participants?),
            Operand::HostCertPrincipals => list(resource?.principals?),
            Operand::ImpersonateRoleName => Value::Text(self.impersonate_role?.name.as_str()),
            Operand::ImpersonateRoleLabel(key) => label(&self.impersonate_role?.metadata.labels, key),
            Operand::ImpersonateUserName => Value::Text(self.impersonate_user?.name.as_str()),
            Operand::ImpersonateUserLabel(key) => label(&self.impersonate_user?.metadata.labels, key),
            Operand::ImpersonateUserRoles => {
                Value::List(self.impersonate_user?.spec.roles.iter().map(RoleName::as_str).collect())
            }
            Operand::ImpersonateUserTrait(name) => list(self.impersonate_user?.spec.traits.values(name)),
        })
    }
}

fn list(values: &[String]) -> Value<'_> {
    Value::List(values.iter().map(String::as_str).collect())
}

/// An absent label is the empty text, as in label expressions.
fn label<'a>(labels: &'a BTreeMap<String, String>, key: &str) -> Value<'a> {
    Value::Text(labels.get(key).map_or("", String::as_str))
}

#[cfg(test)]
mod tests {
    use super::{Clause, Context, ResourceView};
    use crate::{RoleName, Traits};
    use std::collections::BTreeMap;

    fn holds(source: &str, with_resource: bool) -> Result<bool, String> {
        let roles = [RoleName::new("access").expect("a name")];
        let traits = Traits::from_iter([("team", vec!["core"])]);
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let participants = ["alice".to_owned(), "bob".to_owned()];
        let principals = ["web-1.example.com".to_owned(), "web-2.example.com".to_owned()];
        let view = ResourceView {
            name: "thing",
            labels: &labels,
            participants: Some(&participants),
            principals: Some(&principals),
        };
        let context = Context {
            user: "alice",
            roles: &roles,
            traits: &traits,
            resource: with_resource.then_some(view),
            impersonate_role: None,
            impersonate_user: None,
        };
        Clause::new(source).map(|clause| clause.holds(&context)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_word_of_the_language_works() {
        for (source, with, without) in [
            (r#"contains(session.participants, user.metadata.name)"#, true, false),
            (r#"contains(ssh_session.participants, "carol")"#, false, false),
            (r#"equals(resource.metadata.name, "thing")"#, true, false),
            (r#"!equals(resource.metadata.name, "other")"#, true, false),
            (r#"!equals(resource.metadata.name, "thing")"#, false, false),
            (r#"equals(resource.metadata.labels["env"], "prod")"#, true, false),
            (r#"equals(resource.metadata.labels["none"], "")"#, true, false),
            (r#"contains(user.spec.traits["team"], "core")"#, true, true),
            (r#"contains(user.spec.traits["team"], resource.metadata.labels["env"])"#, false, false),
            (r#"contains(user.spec.roles, "access") || equals(resource.metadata.name, "x")"#, true, true),
            (
                r#"contains(user.spec.roles, "access") && equals(resource.metadata.name, "thing")"#,
                true,
                false,
            ),
            (r#"equals(user.spec.roles, user.spec.roles)"#, true, true),
            (
                r#"!(equals(user.metadata.name, "alice") || equals(resource.metadata.name, "x"))"#,
                false,
                false,
            ),
            (r#"all_end_with(host_cert.principals, ".example.com")"#, true, false),
            (r#"all_end_with(host_cert.principals, "-1.example.com")"#, false, false),
            (
                r#"is_subset(host_cert.principals, "web-1.example.com", "web-2.example.com", "x")"#,
                true,
                false,
            ),
            (r#"is_subset(host_cert.principals, "web-1.example.com")"#, false, false),
            (r#"all_equals(host_cert.principals, "web-1.example.com")"#, false, false),
            (r#"all_equals(user.spec.traits["team"], "core")"#, true, true),
            (r#"all_end_with(user.spec.traits["none"], "x")"#, false, false),
            (r#"equals(impersonate_role.metadata.name, "x")"#, false, false),
            (r#"!equals(impersonate_user.metadata.name, "x")"#, false, false),
        ] {
            assert_eq!(holds(source, true), Ok(with), "{source} with a resource");
            assert_eq!(holds(source, false), Ok(without), "{source} without one");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (source, part) in [
            ("", "ends too early"),
            ("user.metadata.name", "a condition is needed"),
            (r#"user.metadata.name == "a""#, "write equals"),
            (r#"contains(user.metadata.name, "a")"#, "must be a list"),
            (r#"contains(user.spec.roles, user.spec.roles)"#, "must be one value"),
            (r#"equals(user.spec.roles, "a")"#, "use contains"),
            (r#"equals("a")"#, "two arguments"),
            (r#"equals(user.name, "a")"#, "unknown name user.name"),
            (r#"equals(user.spec["x"], "a")"#, "unknown name user.spec"),
            (r#"all_end_with(user.metadata.name, "a")"#, "must be a list"),
            (r#"all_end_with(host_cert.principals, "")"#, "no limit"),
            (r#"is_subset(host_cert.principals)"#, "at least one value"),
            (r#"can_view()"#, "no condition can_view"),
        ] {
            let error = holds(source, true).expect_err(source);
            assert!(error.contains(part), "{source}: {error}");
        }
    }
}
