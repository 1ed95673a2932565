//! The roles of one identity, with its traits filled in: compiled once, asked often.

use super::section::{Section, Side};
use super::{Denial, DenialCode};
use crate::preset;
use crate::resource::Role;
use crate::resource::role::RoleOptions;
use crate::{RoleName, Traits, UserName};

/// Everything that decides about one identity.
#[derive(Debug, Clone)]
pub struct RoleSet {
    pub(super) user: UserName,
    pub(super) traits: Traits,
    /// Names for people and clauses, without the implicit role.
    pub(super) names: Vec<RoleName>,
    /// Sorted by name, the implicit role included.
    pub(super) roles: Vec<CompiledRole>,
}

/// A role with everything parsed that can be parsed before a request is known.
#[derive(Debug, Clone)]
pub(super) struct CompiledRole {
    pub name: RoleName,
    /// Held without being given; its options do not count.
    pub implicit: bool,
    pub options: RoleOptions,
    pub allow: Section,
    pub deny: Section,
}

/// A role that an identity names and that does not exist. Leaving it out could leave out what it denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {:?} not found", .0.as_str())]
pub struct MissingRole(pub RoleName);

impl From<MissingRole> for Denial {
    fn from(missing: MissingRole) -> Self {
        Denial::new(DenialCode::RoleNotFound, missing.to_string())
    }
}

impl RoleSet {
    /// Compiles roles for a user with these traits. A role given twice counts once; no role at all stays
    /// nothing, otherwise the implicit role joins.
    pub fn new<'a>(user: &UserName, roles: impl IntoIterator<Item = &'a Role>, traits: &Traits) -> Self {
        let mut given: Vec<&Role> = roles.into_iter().collect();
        given.sort_by(|a, b| a.name.cmp(&b.name));
        given.dedup_by(|a, b| a.name == b.name);
        let names: Vec<RoleName> = given.iter().map(|role| role.name.clone()).collect();
        let mut compiled: Vec<CompiledRole> = given.into_iter().map(|role| compile(role, traits)).collect();
        let alone = matches!(names.as_slice(), [name] if name.as_str() == "Nop");
        if !compiled.is_empty() && !alone {
            compiled.push(compile(&preset::implicit(), traits));
        }
        Self { user: user.clone(), traits: traits.clone(), names, roles: compiled }
    }

    /// Finds the roles by name; one that is missing fails the whole.
    pub fn resolve<'a>(
        user: &UserName,
        names: &[RoleName],
        traits: &Traits,
        find: impl Fn(&RoleName) -> Option<&'a Role>,
    ) -> Result<Self, MissingRole> {
        let found: Result<Vec<&Role>, MissingRole> =
            names.iter().map(|name| find(name).ok_or_else(|| MissingRole(name.clone()))).collect();
        Ok(Self::new(user, found?, traits))
    }

    /// The user whose roles these are.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The options of the roles that were given.
    pub(super) fn options(&self) -> impl Iterator<Item = &RoleOptions> {
        self.given().map(|role| &role.options)
    }

    /// The roles without the implicit one.
    pub(super) fn given(&self) -> impl Iterator<Item = &CompiledRole> {
        self.roles.iter().filter(|role| !role.implicit)
    }

    /// The names of the roles, sorted, without the implicit one.
    pub fn names(&self) -> &[RoleName] {
        &self.names
    }
}

fn compile(role: &Role, traits: &Traits) -> CompiledRole {
    let mut role = role.clone();
    role.fill_defaults();
    CompiledRole {
        implicit: role.name.as_str() == preset::IMPLICIT,
        allow: Section::compile(&role.spec.allow, Side::Allow, traits),
        deny: Section::compile(&role.spec.deny, Side::Deny, traits),
        name: role.name,
        options: role.spec.options,
    }
}
