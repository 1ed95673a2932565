//! Who may do what to which resource (fact sheet, section 2.8).

use super::role_set::CompiledRole;
use super::{Denial, DenialCode, RoleSet, Verb};
use crate::RoleName;
pub use crate::predicate::ResourceView;
use crate::predicate::{Clause, Context};
use crate::resource::role::Rule;

/// The permission for one action. Only [`check`] and [`read`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPermit {
    verb: Verb,
    kind: String,
    granted_by: RoleName,
}

impl ApiPermit {
    /// What may be done.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The kind of resource it may be done to.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The role that grants it.
    pub fn granted_by(&self) -> &RoleName {
        &self.granted_by
    }

    /// Whether secrets may be shown too.
    pub fn with_secrets(&self) -> bool {
        self.verb == Verb::Read
    }
}

/// Decides one action on a kind of resource, `kind` being [`crate::resource::Kind::as_str`] or a name of its own
/// such as `event`.
///
/// Without a resource, rules with clauses about one do not count, neither to allow nor to deny: whoever
/// lists must ask again for each item.
pub fn check(
    roles: &RoleSet,
    verb: Verb,
    kind: &str,
    resource: Option<ResourceView<'_>>,
) -> Result<ApiPermit, Denial> {
    let action = Action { roles, verb, kind, resource };
    let denied = roles.roles.iter().find_map(|role| Some((role, action.denying(role)?)));
    if let Some((role, rule)) = denied {
        return Err(action
            .refusal(DenialCode::ActionDenied)
            .because(&role.name, format!("deny.rules[{}]", rule.index)));
    }
    match roles.roles.iter().find(|role| action.allowed(role)) {
        Some(role) => Ok(ApiPermit { verb, kind: kind.to_owned(), granted_by: role.name.clone() }),
        None => Err(action.refusal(DenialCode::ActionNotAllowed)),
    }
}

/// Decides reading: with secrets if that is allowed, otherwise without.
pub fn read(roles: &RoleSet, kind: &str, resource: Option<ResourceView<'_>>) -> Result<ApiPermit, Denial> {
    check(roles, Verb::Read, kind, resource).or_else(|_| check(roles, Verb::ReadNoSecrets, kind, resource))
}

/// A rule with its clause parsed.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    /// Its place in the role, for explanations.
    index: usize,
    resources: Vec<String>,
    verbs: Vec<String>,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Always,
    Clause(Clause),
    Broken,
}

impl CompiledRule {
    pub fn compile_all(rules: &[Rule]) -> Vec<Self> {
        rules.iter().enumerate().map(|(index, rule)| Self::compile(index, rule)).collect()
    }

    fn compile(index: usize, rule: &Rule) -> Self {
        let condition = match rule.condition.as_str() {
            "" => Condition::Always,
            source => Clause::new(source).map_or(Condition::Broken, Condition::Clause),
        };
        Self { index, resources: rule.resources.clone(), verbs: rule.verbs.clone(), condition }
    }

    fn names(&self, kind: &str) -> bool {
        self.resources.iter().any(|resource| resource == kind || resource == "*")
    }

    /// Reading includes reading without secrets.
    fn has(&self, verb: Verb) -> bool {
        let named = |verb: Verb| self.verbs.iter().any(|written| written == verb.as_str() || written == "*");
        named(verb) || (verb == Verb::ReadNoSecrets && named(Verb::Read))
    }
}

struct Action<'a> {
    roles: &'a RoleSet,
    verb: Verb,
    kind: &'a str,
    resource: Option<ResourceView<'a>>,
}

impl Action<'_> {
    fn denying<'r>(&self, role: &'r CompiledRole) -> Option<&'r CompiledRule> {
        role.deny.rules.iter().filter(|_| role.deny.applies).find(|rule| self.denied_by(rule))
    }

    fn allowed(&self, role: &CompiledRole) -> bool {
        role.allow.applies && role.allow.rules.iter().any(|rule| self.allowed_by(rule))
    }

    fn allowed_by(&self, rule: &CompiledRule) -> bool {
        rule.names(self.kind)
            && rule.has(self.verb)
            && match &rule.condition {
                Condition::Always => true,
                Condition::Clause(clause) => clause.holds(&self.context()),
                Condition::Broken => false,
            }
    }

    /// Whoever may not read without secrets may not read with them either.
    fn denied_by(&self, rule: &CompiledRule) -> bool {
        let has = rule.has(self.verb) || (self.verb == Verb::Read && rule.has(Verb::ReadNoSecrets));
        rule.names(self.kind)
            && has
            && match &rule.condition {
                Condition::Always | Condition::Broken => true,
                Condition::Clause(clause) => clause.holds(&self.context()),
            }
    }

    fn context(&self) -> Context<'_> {
        Context {
            user: self.roles.user.as_str(),
            roles: &self.roles.names,
            traits: &self.roles.traits,
            resource: self.resource,
            impersonate_role: None,
            impersonate_user: None,
        }
    }

    fn refusal(&self, code: DenialCode) -> Denial {
        Denial::new(
            code,
            format!("access denied to perform action {:?} on {:?}", self.verb.as_str(), self.kind),
        )
    }
}
