//! Users: people, and the users that stand for bots.

use super::Metadata;
use crate::{RoleName, Traits, UserName};
use serde::{Deserialize, Serialize};

/// A user. Version `v2`.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Name, labels, revision.
    pub metadata: Metadata,
    /// The user's name, checked.
    pub name: UserName,
    /// What the user may do.
    pub spec: UserSpec,
}

/// Settings of [`User`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserSpec {
    /// The roles it holds.
    pub roles: Vec<RoleName>,
    /// Fill the templates of those roles.
    pub traits: Traits,
}
