//! Locks: refusals that act at once, on new certificates, new sessions and live ones.

use super::Metadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A refusal. Version `v2`; the name is a UUID unless the administrator chose one.
#[derive(Debug, Clone, PartialEq)]
pub struct Lock {
    /// Name, revision.
    pub metadata: Metadata,
    /// Whom, why, until when.
    pub spec: LockSpec,
}

/// Settings of [`Lock`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockSpec {
    /// Whom it refuses; a connection that matches any one field is refused.
    pub target: LockTarget,
    /// Shown to whoever is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// From then on it is not in force; absent means until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// At least one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LockTarget {
    /// A user, `bot-<name>` for a whole bot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Everybody who holds this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// An operating-system account, on every node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// A node's host id.
    #[serde(skip_serializing_if = "Option::is_none", alias = "node")]
    pub server_id: Option<String>,
    /// One copy of a bot, by instance id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_instance_id: Option<String>,
    /// Whoever joins with this token, by its name; for tokens whose name is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
}
