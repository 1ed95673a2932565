//! Whose roles may be asked for (fact sheet, section 2.9; machine identities, section 6.3).

use super::{Denial, DenialCode, RoleSet};
use crate::predicate::{Clause, Context};
use crate::resource::role::Impersonate;
use crate::resource::{Role, User};
use crate::template::Matcher;
use crate::{RoleName, Traits};
use std::collections::BTreeSet;

/// The permission to be issued a certificate with other roles. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpersonatePermit {
    roles: Vec<RoleName>,
    granted_by: RoleName,
}

impl ImpersonatePermit {
    /// The roles asked for, sorted, each once.
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }

    /// The role that grants it.
    pub fn granted_by(&self) -> &RoleName {
        &self.granted_by
    }
}

/// What the asking identity is; an output of an earlier request must not ask again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requester {
    /// The certificate says that it may not be exchanged.
    pub disallow_reissue: bool,
    /// The certificate was itself issued by impersonation.
    pub impersonated: bool,
}

/// Decides a bot's request for roles under its own name: one role must allow all of them, without naming users.
pub fn roles(held: &RoleSet, requester: Requester, requested: &[&Role]) -> Result<ImpersonatePermit, Denial> {
    decide(held, requester, None, requested)
}

/// Decides a request for another user's certificate with the given roles of that user.
pub fn user(
    held: &RoleSet,
    requester: Requester,
    user: &User,
    requested: &[&Role],
) -> Result<ImpersonatePermit, Denial> {
    decide(held, requester, Some(user), requested)
}

/// The roles that are named without patterns in `allow.impersonate`: what a bot's output gets unless it asks for
/// less.
pub fn requestable(held: &RoleSet) -> BTreeSet<RoleName> {
    let allowing = held.roles.iter().filter_map(|role| role.allow.impersonate.as_ref());
    let without_users = allowing.filter(|impersonate| impersonate.users.is_empty());
    let names = without_users.flat_map(|impersonate| impersonate.roles.iter().filter_map(Matcher::literal));
    names.filter_map(|name| RoleName::new(name).ok()).collect()
}

fn decide(
    held: &RoleSet,
    requester: Requester,
    user: Option<&User>,
    requested: &[&Role],
) -> Result<ImpersonatePermit, Denial> {
    if requester.disallow_reissue || requester.impersonated {
        return Err(Denial::new(
            DenialCode::ReissueNotAllowed,
            "identity is not allowed to reissue certificates",
        ));
    }
    let names: BTreeSet<RoleName> = requested.iter().map(|role| role.name.clone()).collect();
    if names.is_empty() {
        return Err(Denial::new(DenialCode::NoRolesRequested, "no roles were requested"));
    }
    let refusal = |code: DenialCode| Denial::new(code, reason(held, user, &names));
    let wish = Wish { held, user, requested };
    let mut parts = held.roles.iter().filter_map(|role| Some((&role.name, role.deny.impersonate.as_ref()?)));
    if let Some((role, _)) = parts.find(|(_, deny)| wish.denied_by(deny)) {
        return Err(refusal(DenialCode::ImpersonationDenied).because(role, "deny.impersonate"));
    }
    let mut parts = held.roles.iter().filter_map(|role| Some((&role.name, role.allow.impersonate.as_ref()?)));
    match parts.find(|(_, allow)| wish.allowed_by(allow)) {
        Some((role, _)) => {
            Ok(ImpersonatePermit { roles: names.into_iter().collect(), granted_by: role.clone() })
        }
        None => Err(refusal(DenialCode::ImpersonationNotAllowed)),
    }
}

fn reason(held: &RoleSet, user: Option<&User>, names: &BTreeSet<RoleName>) -> String {
    let names: Vec<&str> = names.iter().map(RoleName::as_str).collect();
    let names = names.join(", ");
    match user {
        None => {
            format!("user {} has requested role impersonation for {names}, which is not allowed", held.user)
        }
        Some(user) => {
            format!(
                "user {} has requested to impersonate {} with {names}, which is not allowed",
                held.user, user.name
            )
        }
    }
}

/// `impersonate` of one role, with its matchers filled.
#[derive(Debug, Clone)]
pub(super) struct CompiledImpersonate {
    users: Vec<Matcher>,
    /// `users` was written, whatever became of it: then it is not for roles alone.
    names_users: bool,
    roles: Vec<Matcher>,
    condition: Option<Clause>,
    /// Something in it cannot be understood.
    broken: bool,
}

impl CompiledImpersonate {
    pub fn compile(written: &Impersonate, traits: &Traits) -> Self {
        let mut broken = false;
        let mut matchers = |texts: &[String]| -> Vec<Matcher> {
            let mut all = Vec::new();
            for text in texts {
                match Matcher::new(text) {
                    Ok(matcher) => all.extend(matcher.fill(traits)),
                    Err(_) => broken = true,
                }
            }
            all
        };
        let (users, roles) = (matchers(&written.users), matchers(&written.roles));
        let condition = match written.condition.as_str() {
            "" => None,
            source => match Clause::new(source) {
                Ok(clause) => Some(clause),
                Err(_) => {
                    broken = true;
                    None
                }
            },
        };
        Self { names_users: !written.users.is_empty(), users, roles, condition, broken }
    }
}

struct Wish<'a> {
    held: &'a RoleSet,
    user: Option<&'a User>,
    requested: &'a [&'a Role],
}

impl Wish<'_> {
    /// One role covers the user and every role asked for, and its clause holds for each of them.
    fn allowed_by(&self, allow: &CompiledImpersonate) -> bool {
        let user_fits = match self.user {
            None => !allow.names_users,
            Some(user) => fits(&allow.users, user.name.as_str()),
        };
        !allow.broken
            && user_fits
            && self
                .requested
                .iter()
                .all(|role| fits(&allow.roles, role.name.as_str()) && self.holds(allow, role))
    }

    /// The user or any one role asked for is enough.
    fn denied_by(&self, deny: &CompiledImpersonate) -> bool {
        let user_fits = self.user.is_some_and(|user| fits(&deny.users, user.name.as_str()));
        deny.broken
            || self
                .requested
                .iter()
                .any(|role| (user_fits || fits(&deny.roles, role.name.as_str())) && self.holds(deny, role))
    }

    fn holds(&self, part: &CompiledImpersonate, role: &Role) -> bool {
        let context = Context {
            user: self.held.user.as_str(),
            roles: &self.held.names,
            traits: &self.held.traits,
            resource: None,
            impersonate_role: Some(role),
            impersonate_user: self.user,
        };
        part.condition.as_ref().is_none_or(|clause| clause.holds(&context))
    }
}

fn fits(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().any(|matcher| matcher.fits(name))
}
