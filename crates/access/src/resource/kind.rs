//! The kinds of resources and the names by which people call them.

use super::decode::nearest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`super::Role`]
    Role,
    /// [`super::User`]
    User,
    /// [`super::Bot`]
    Bot,
    /// [`super::BotInstance`]
    BotInstance,
    /// [`super::Token`]
    Token,
    /// [`super::Node`]
    Node,
    /// [`super::CertAuthority`]
    CertAuthority,
    /// [`super::Lock`]
    Lock,
    /// [`super::AuthPreference`]
    ClusterAuthPreference,
    /// [`super::NetworkingConfig`]
    ClusterNetworkingConfig,
    /// [`super::RecordingConfig`]
    SessionRecordingConfig,
}

/// Each kind with its own name first, then its aliases (fact sheet, section 7).
const NAMES: [(Kind, &[&str]); 11] = [
    (Kind::Role, &["role", "roles"]),
    (Kind::User, &["user", "users"]),
    (Kind::Bot, &["bot", "bots"]),
    (Kind::BotInstance, &["bot_instance", "bot_instances"]),
    (Kind::Token, &["token", "tokens"]),
    (Kind::Node, &["node", "nodes"]),
    (Kind::CertAuthority, &["cert_authority", "cert_authorities", "cas", "ca"]),
    (Kind::Lock, &["lock", "locks"]),
    (Kind::ClusterAuthPreference, &["cluster_auth_preference", "cap"]),
    (Kind::ClusterNetworkingConfig, &["cluster_networking_config", "networking", "netconfig"]),
    (
        Kind::SessionRecordingConfig,
        &["session_recording_config", "recording_config", "session_recording", "recconfig"],
    ),
];

impl Kind {
    /// Every kind, in the order in which `get all` lists them.
    pub fn all() -> impl Iterator<Item = Kind> {
        NAMES.iter().map(|(kind, _)| *kind)
    }

    /// The version that a resource of this kind is written with; roles may have an older one.
    pub fn version(self) -> &'static str {
        match self {
            Self::Role => "v7",
            Self::Bot | Self::BotInstance => "v1",
            Self::User
            | Self::Token
            | Self::Node
            | Self::CertAuthority
            | Self::Lock
            | Self::ClusterAuthPreference
            | Self::ClusterNetworkingConfig
            | Self::SessionRecordingConfig => "v2",
        }
    }

    /// The name of the one resource of this kind, where there is one only.
    pub fn single_name(self) -> Option<&'static str> {
        match self {
            Self::ClusterAuthPreference => Some("cluster-auth-preference"),
            Self::ClusterNetworkingConfig => Some("cluster-networking-config"),
            Self::SessionRecordingConfig => Some("session-recording-config"),
            _ => None,
        }
    }

    /// The name that stands in a resource's `kind` field.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, names)| names[0])
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind of resource called {0:?}; {meant}known are {known}", meant = meant(.0), known = known())]
pub struct UnknownKind(pub String);

fn known() -> String {
    Kind::all().map(Kind::as_str).collect::<Vec<_>>().join(", ")
}

/// The nearest kind as a question, or nothing. Files need a kind's own name, so an alias is told by that too.
fn meant(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let own: Vec<&str> = Kind::all().map(Kind::as_str).collect();
    let near = word.parse().ok().map(Kind::as_str).or_else(|| nearest(&word, &own));
    near.map_or_else(String::new, |kind| format!("did you mean {kind}? "))
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    /// Accepts the name and every alias.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        NAMES
            .iter()
            .find(|(_, names)| names.contains(&text))
            .map(|(kind, _)| *kind)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_kind_is_found_by_its_name_and_aliases() {
        for kind in Kind::all() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
        }
        for (alias, kind) in [
            ("cap", Kind::ClusterAuthPreference),
            ("netconfig", Kind::ClusterNetworkingConfig),
            ("cas", Kind::CertAuthority),
        ] {
            assert_eq!(alias.parse(), Ok(kind), "{alias}");
        }
    }

    #[test]
    fn a_word_that_names_no_kind_is_told_the_nearest() {
        for (word, meant) in
            [("rolez", "role"), ("Role", "role"), ("toekns", "token"), ("cap", "cluster_auth_preference")]
        {
            let said = super::UnknownKind(word.to_owned()).to_string();
            assert!(said.contains(&format!("; did you mean {meant}? known are role, user, ")), "{said}");
        }
        for word in ["", "elephant", "kubernetes_cluster"] {
            let said = word.parse::<Kind>().expect_err(word).to_string();
            assert!(said.contains("; known are role, user, "), "{said}");
        }
    }
}
