//! Roles as they are written: versions v3 to v7. What they grant is decided in [`crate::rbac`].

use super::Metadata;
use crate::{RoleName, Ttl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod defaults;

pub use defaults::MAX_SESSION_TTL;

/// A role.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Name, labels, revision.
    pub metadata: Metadata,
    /// The role's name, checked.
    pub name: RoleName,
    /// Decides the defaults.
    pub version: RoleVersion,
    /// What it grants, refuses and sets, with the version's defaults filled in.
    pub spec: RoleSpec,
}

/// Fields of the incumbent that concern things which do not exist here (applications, desktops, ...), as they
/// were written. They neither grant nor refuse anything.
pub type Foreign = BTreeMap<String, serde_json::Value>;

/// Versions differ in their defaults only (fact sheet, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleVersion {
    /// `node_labels` default to everything when the role has logins.
    V3,
    /// No label defaults.
    V4,
    /// As v4.
    V5,
    /// As v4.
    V6,
    /// As v4.
    V7,
}

impl RoleVersion {
    /// Every version, oldest first.
    pub const ALL: [RoleVersion; 5] = [Self::V3, Self::V4, Self::V5, Self::V6, Self::V7];

    /// As it stands in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::V4 => "v4",
            Self::V5 => "v5",
            Self::V6 => "v6",
            Self::V7 => "v7",
        }
    }
}

/// Settings of [`Role`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RoleSpec {
    /// How sessions behave.
    pub options: RoleOptions,
    /// What it grants.
    pub allow: Conditions,
    /// What it refuses, before any grant of any role.
    pub deny: Conditions,
}

/// How certificates and sessions of a holder behave; merged over all roles of the holder.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RoleOptions {
    /// Longest certificate; 30 hours unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_session_ttl: Option<Ttl>,
    /// Agent forwarding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_agent: Option<bool>,
    /// Port forwarding, local and remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_forwarding: Option<bool>,
    /// Port forwarding, each direction by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_port_forwarding: Option<SshPortForwarding>,
    /// X11 forwarding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit_x11_forwarding: Option<bool>,
    /// SFTP and scp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_file_copy: Option<bool>,
    /// Ends sessions without traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_idle_timeout: Option<Ttl>,
    /// Ends sessions with their certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_expired_cert: Option<bool>,
    /// Connections at once, per user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Session channels at once, per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// What to do when locks are stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<super::cluster::LockingMode>,
    /// Refuse connections without a post-quantum key exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_post_quantum: Option<bool>,
    /// Bind certificates to the address they were issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_source_ip: Option<bool>,
    /// Only `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_format: Option<CertFormat>,
    /// Extra SSH certificate extensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cert_extensions: Vec<CertExtension>,
    /// What the incumbent knows beside these.
    #[serde(flatten)]
    pub foreign: Foreign,
}

/// Port forwarding by direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshPortForwarding {
    /// `ssh -L`, `-D`, `-W`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<Switch>,
    /// `ssh -R`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Switch>,
}

/// `{enabled: bool}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// On or off.
    pub enabled: bool,
}

/// What a certificate carries: roles and traits, always, because nodes decide by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertFormat {
    /// With our own extensions.
    Standard,
}

/// An extra extension of SSH certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertExtension {
    /// Only `ssh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Only `extension`.
    pub mode: String,
    /// The extension's name.
    pub name: String,
    /// May be a template.
    pub value: String,
}

/// Grants or refusals.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Conditions {
    /// `default` or `*`; kept for files of the incumbent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Operating-system accounts; may be templates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<String>,
    /// Which nodes, by label; absent means the version's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_labels: Option<LabelSelector>,
    /// Which nodes, by expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_labels_expression: String,
    /// Which resources of the API.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Whose certificates may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<Impersonate>,
    /// Which identities workloads may be given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spiffe: Vec<SpiffeRule>,
    /// What the incumbent knows beside these.
    #[serde(flatten)]
    pub foreign: Foreign,
}

/// Label key to the values that fit.
pub type LabelSelector = BTreeMap<String, Vec<String>>;

/// Verbs on kinds of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Kinds, or `*`.
    pub resources: Vec<String>,
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
    /// Narrows the rule.
    #[serde(rename = "where", skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// What the incumbent does when it matches; only `log(...)`. Kept and not carried out: every action is audited anyway.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

/// Whose roles may be requested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Impersonate {
    /// Users; empty for a bot's role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Narrows it.
    #[serde(rename = "where", skip_serializing_if = "String::is_empty")]
    pub condition: String,
}

/// Identities of workloads. Names and addresses that are not listed are not allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpiffeRule {
    /// Paths of SPIFFE IDs: text in which `*` stands for any characters, or `^...$`.
    pub path: String,
    /// DNS names, in the same way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_sans: Vec<String>,
    /// Networks, like `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_sans: Vec<String>,
}
