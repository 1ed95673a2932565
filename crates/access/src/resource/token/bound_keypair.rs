//! Method `bound_keypair`: a key that the joiner keeps is bound to the token at the first join; with it the joiner
//! comes back after any time away, as often as the token says (fact sheet, section 4.2).

use crate::{HostId, InstanceId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands in a resource in place of a secret.
const MASK: &str = "********";

/// Settings of the method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoundKeypair {
    /// How the key is bound.
    pub onboarding: Onboarding,
    /// How often its holder may come back.
    pub recovery: Recovery,
    /// A key that was bound before is replaced at the first join or renewal from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_after: Option<Timestamp>,
}

/// How the key is bound: it is given here, or whoever shows the secret first binds its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Onboarding {
    /// The key, as one line of OpenSSH (`ecdsa-sha2-nistp256 ...`). Instead of a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_public_key: Option<String>,
    /// Good for binding one key. Auth draws one where neither it nor a key is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_secret: Option<Secret>,
    /// No key is bound from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_register_before: Option<Timestamp>,
}

impl Onboarding {
    /// Hides the secret, for showing.
    pub(super) fn mask(&mut self) {
        if let Some(secret) = &mut self.registration_secret {
            *secret = Secret(MASK.to_owned());
        }
    }
}

/// How often the holder of the key may join without a valid certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// So often, the first join among them; from 1.
    pub limit: u32,
    /// What is checked.
    pub mode: RecoveryMode,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { limit: 1, mode: RecoveryMode::Standard }
    }
}

/// What is checked when the holder of the key comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryMode {
    /// The limit, and that there is one holder.
    Standard,
    /// That there is one holder.
    Relaxed,
    /// Nothing but the key: several may share it, and copies are not noticed.
    Insecure,
}

impl RecoveryMode {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Relaxed, Self::Insecure];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Relaxed => "relaxed",
            Self::Insecure => "insecure",
        }
    }
}

/// What auth keeps of the holder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// The bound key, as one line of OpenSSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_public_key: Option<String>,
    /// When it was bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_bound_at: Option<Timestamp>,
    /// The key that takes its place once the holder has shown that it has kept it; until then both are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_public_key: Option<String>,
    /// The key before: who still shows it runs on a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_public_key: Option<String>,
    /// The bot's instance that the holder is now, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_bot_instance_id: Option<InstanceId>,
    /// The host that the holder is now, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_host_id: Option<HostId>,
    /// Joins without a valid certificate, the first among them.
    pub recovery_count: u32,
    /// When the last of them was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_recovered_at: Option<Timestamp>,
    /// The last of them until the holder has shown that it has the answer: the same attempt again is a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed_attempt: Option<String>,
    /// What the holder must show next time; never given to anybody but the holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_state: Option<Secret>,
}

/// A text that is not printed by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// Whether it stands for a secret that was hidden.
    pub fn is_mask(&self) -> bool {
        self.0.starts_with('*')
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
