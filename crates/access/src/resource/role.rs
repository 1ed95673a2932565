//! Roles as they are written: versions v3 to v7. What they grant is decided in [`crate::rbac`].

use super::Metadata;
use crate::{RoleName, Ttl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Settings of [`Role`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleSpec {
    /// How sessions behave.
    pub options: RoleOptions,
    /// What it grants.
    pub allow: Conditions,
    /// What it refuses, before any grant of any role.
    pub deny: Conditions,
}

/// How certificates and sessions of a holder behave; merged over all roles of the holder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleOptions {
    /// Longest certificate; 30 hours unless set.
    pub max_session_ttl: Option<Ttl>,
    /// Agent forwarding.
    pub forward_agent: Option<bool>,
    /// Port forwarding, local and remote.
    pub port_forwarding: Option<bool>,
    /// Port forwarding, each direction by itself.
    pub ssh_port_forwarding: Option<SshPortForwarding>,
    /// X11 forwarding.
    pub permit_x11_forwarding: Option<bool>,
    /// SFTP and scp.
    pub ssh_file_copy: Option<bool>,
    /// Ends sessions without traffic.
    pub client_idle_timeout: Option<Ttl>,
    /// Ends sessions with their certificate.
    pub disconnect_expired_cert: Option<bool>,
    /// Connections at once, per user.
    pub max_connections: Option<u32>,
    /// Session channels at once, per connection.
    pub max_sessions: Option<u32>,
    /// What to do when locks are stale.
    pub lock: Option<super::cluster::LockingMode>,
    /// Bind certificates to the address they were issued to.
    pub pin_source_ip: Option<bool>,
    /// `standard`, or `oldssh` without our own extensions.
    pub cert_format: Option<CertFormat>,
    /// Extra SSH certificate extensions.
    pub cert_extensions: Vec<CertExtension>,
}

/// Port forwarding by direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshPortForwarding {
    /// `ssh -L`, `-D`, `-W`.
    pub local: Option<Switch>,
    /// `ssh -R`.
    pub remote: Option<Switch>,
}

/// `{enabled: bool}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// On or off.
    pub enabled: bool,
}

/// Whether a certificate carries our extensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertFormat {
    /// Without roles and traits, for old servers.
    Oldssh,
    /// With them.
    #[default]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// `default` or `*`; kept for files of the incumbent.
    pub namespaces: Option<Vec<String>>,
    /// Operating-system accounts; may be templates.
    pub logins: Vec<String>,
    /// Which nodes, by label; absent means the version's default.
    pub node_labels: Option<LabelSelector>,
    /// Which nodes, by expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_labels_expression: String,
    /// Which resources of the API.
    pub rules: Vec<Rule>,
    /// Whose certificates may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<Impersonate>,
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
    /// What to do when it matches; only `log(...)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

/// Whose roles may be requested.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Impersonate {
    /// Users; empty for a bot's role.
    pub users: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// Narrows it.
    #[serde(rename = "where", skip_serializing_if = "String::is_empty")]
    pub condition: String,
}
