//! The three settings that exist once per cluster.

use super::Metadata;
use crate::Ttl;
use serde::{Deserialize, Serialize};

/// How people authenticate and how locks behave. Name `cluster-auth-preference`, version `v2`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthPreference {
    /// Name, revision.
    pub metadata: Metadata,
    /// The settings.
    pub spec: AuthPreferenceSpec,
}

/// Settings of [`AuthPreference`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthPreferenceSpec {
    /// The life of a certificate when nothing else is asked for; 12 hours.
    pub default_session_ttl: Ttl,
    /// End sessions when the certificate they were opened with expires.
    pub disconnect_expired_cert: bool,
    /// What a node does when its view of locks is stale.
    pub locking_mode: LockingMode,
    /// Refuse SSH logins over connections without a post-quantum key exchange. Not written while it is off: services that
    /// do not know it yet go on reading what they can enforce, and refuse what they cannot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_post_quantum: bool,
    /// Shown before login by clients that ask for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_of_the_day: String,
}

impl Default for AuthPreferenceSpec {
    fn default() -> Self {
        Self {
            default_session_ttl: Ttl::from_secs(12 * 3600),
            disconnect_expired_cert: false,
            locking_mode: LockingMode::BestEffort,
            require_post_quantum: false,
            message_of_the_day: String::new(),
        }
    }
}

/// What to do when locks cannot be refreshed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockingMode {
    /// Go on with the last known locks.
    #[default]
    BestEffort,
    /// Refuse new sessions and end live ones.
    Strict,
}

/// Keep-alives, time-outs and routing. Name `cluster-networking-config`, version `v2`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkingConfig {
    /// Name, revision.
    pub metadata: Metadata,
    /// The settings.
    pub spec: NetworkingSpec,
}

/// Settings of [`NetworkingConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkingSpec {
    /// Ends sessions without traffic; `never` for no limit.
    pub client_idle_timeout: Ttl,
    /// Said to the client then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_idle_timeout_message: String,
    /// How often a silent client is asked whether it is there.
    pub keep_alive_interval: Ttl,
    /// How many unanswered questions end the connection.
    pub keep_alive_count_max: u32,
    /// How a name that fits several nodes is resolved.
    pub routing_strategy: RoutingStrategy,
    /// Whether `foo` finds `Foo`.
    pub case_insensitive_routing: bool,
    /// How long a proxy waits for a node.
    pub ssh_dial_timeout: Ttl,
}

impl Default for NetworkingSpec {
    fn default() -> Self {
        Self {
            client_idle_timeout: Ttl::NEVER,
            client_idle_timeout_message: String::new(),
            keep_alive_interval: Ttl::from_secs(300),
            keep_alive_count_max: 3,
            routing_strategy: RoutingStrategy::UnambiguousMatch,
            case_insensitive_routing: false,
            ssh_dial_timeout: Ttl::from_secs(30),
        }
    }
}

/// What to do with a name that fits several nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingStrategy {
    /// Refuse and say so.
    #[default]
    UnambiguousMatch,
    /// Take the one seen last.
    MostRecent,
}

/// Whether sessions are recorded. Name `session-recording-config`, version `v2`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingConfig {
    /// Name, revision.
    pub metadata: Metadata,
    /// The settings.
    pub spec: RecordingSpec,
}

/// Settings of [`RecordingConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingSpec {
    /// Only `off` so far: Postern does not record sessions yet, and says so instead of pretending.
    pub mode: RecordingMode,
}

/// Where sessions are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingMode {
    /// Nowhere.
    #[default]
    Off,
}
