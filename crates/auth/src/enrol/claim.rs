//! The uses of tokens, by attempt: what makes a repeated join a retry and not a second use.

use crate::catalog::record::Damaged;
use access::{BotName, HostId, InstanceId, SystemRole};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Entry, Key, Txn};

/// How long a use is remembered after its token has expired or, without that, after the use.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What a use of a token gave. The attempt is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// An instance of a bot.
    Bot {
        /// The bot.
        bot: BotName,
        /// The copy.
        instance: InstanceId,
        /// Whether a platform vouched for it: then it has to each time, and knowing the token and the attempt is not enough.
        #[serde(default)]
        vouched: bool,
        /// When the use is forgotten.
        until: Timestamp,
    },
    /// A host.
    Host {
        /// Its id.
        id: HostId,
        /// What it does.
        role: SystemRole,
        /// As for a bot.
        #[serde(default)]
        vouched: bool,
        /// When the use is forgotten.
        until: Timestamp,
    },
}

impl Claim {
    /// Until when a use made now is remembered.
    pub fn until(token_expires: Option<Timestamp>, now: Timestamp) -> Timestamp {
        token_expires.unwrap_or(now).max(now) + KEPT
    }

    /// From the store.
    pub fn read(entry: &Entry) -> Result<Self, Damaged> {
        serde_json::from_slice(&entry.value)
            .map_err(|error| Damaged { key: entry.key.clone(), reason: error.to_string() })
    }

    /// Writes it.
    pub fn put(&self, txn: Txn, key: Key) -> Txn {
        let (Self::Bot { until, .. } | Self::Host { until, .. }) = self;
        let text = serde_json::to_string(self).expect("a claim is names and times");
        txn.put_until(key, text, *until)
    }
}
