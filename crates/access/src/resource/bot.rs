//! Bots and their instances.

use super::Metadata;
use crate::{BotName, InstanceId, RoleName, Traits, Ttl};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest certificate of a bot that does not say otherwise.
pub const DEFAULT_MAX_SESSION_TTL: Ttl = Ttl::from_secs(12 * 3600);

/// A machine identity: roles that its credentials may carry. Version `v1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Bot {
    /// Name, labels, revision.
    pub metadata: Metadata,
    /// The bot's name, checked.
    pub name: BotName,
    /// What its outputs may be given.
    pub roles: Vec<RoleName>,
    /// Fill the templates of those roles.
    pub traits: Traits,
    /// The longest certificate of this bot; 12 hours unless set.
    pub max_session_ttl: Ttl,
}

/// One running copy of a bot: joined once, renewed since. Version `v1`.
#[derive(Debug, Clone, PartialEq)]
pub struct BotInstance {
    /// Name is `<bot>/<instance>`; expires with its last certificate.
    pub metadata: Metadata,
    /// The specification.
    pub spec: BotInstanceSpec,
    /// What auth saw of it.
    pub status: BotInstanceStatus,
}

/// Which bot and which copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BotInstanceSpec {
    /// The bot.
    pub bot_name: BotName,
    /// The copy.
    pub instance_id: InstanceId,
}

/// The authentications of an instance; at most ten are kept, the initial one included, newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BotInstanceStatus {
    /// How it joined.
    pub initial_authentication: Option<Authentication>,
    /// How it renewed.
    pub latest_authentications: Vec<Authentication>,
    /// The first report of the agent about itself.
    pub initial_heartbeat: Option<Heartbeat>,
    /// Later reports, newest last, at most ten.
    pub latest_heartbeats: Vec<Heartbeat>,
}

/// One join or renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// When.
    pub authenticated_at: Timestamp,
    /// `token`, ...
    pub join_method: String,
    /// The token's name, masked where the name is the secret.
    pub join_token: String,
    /// SHA-256 fingerprint of the instance's public key, `SHA256:...`.
    pub public_key: String,
    /// Counts renewals from 1.
    pub generation: u64,
    /// Where it came from.
    pub remote_addr: String,
}

/// What an agent says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// When auth received it.
    pub recorded_at: Option<Timestamp>,
    /// The machine's name.
    pub hostname: String,
    /// First report after a start.
    pub is_startup: bool,
    /// Seconds since the agent's start.
    pub uptime_seconds: u64,
    /// Ends after one round.
    pub one_shot: bool,
    /// The agent's version.
    pub version: String,
    /// For example `x86_64`.
    pub architecture: String,
    /// For example `linux`.
    pub os: String,
    /// How its services are; kept of the newest report alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceHealth>,
}

/// What an agent says about one of its services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceHealth {
    /// `identity`, `heartbeat`, or an output's name.
    pub name: String,
    /// `bot-identity`, `identity-output`, ...
    pub kind: String,
    /// `healthy`, `degraded`, `unhealthy` or `initializing`.
    pub status: String,
    /// Why it is not healthy.
    pub reason: String,
    /// Until when what it keeps is valid.
    pub expires: Option<Timestamp>,
}
