//! What is left of a token that is gone, for `tctl join explain`: when it ended, or who has spent it. Joiners hear nothing
//! of it. Like the token it lies under the hash of its name, and says nothing of the name.

use super::claim::{Claim, KEPT};
use crate::catalog::layout;
use crate::catalog::record::Damaged;
use jiff::Timestamp;
use join::TokenHash;
use serde::{Deserialize, Serialize};
use store::{Entry, Txn};

/// The trace of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// It was made, to end at a time.
    Made {
        /// When it ends.
        expires: Timestamp,
    },
    /// It was used up.
    Spent {
        /// When.
        at: Timestamp,
        /// By whom, in words.
        by: String,
        /// When this is forgotten.
        until: Timestamp,
    },
}

impl Trace {
    /// Of a token that this use spends.
    pub fn spent(claim: &Claim, now: Timestamp) -> Self {
        let (by, until) = match claim {
            Claim::Bot { bot, instance, until, .. } => (format!("the bot instance {bot}/{instance}"), *until),
            Claim::Host { id, role, until, .. } => {
                (format!("the {} {id}", role.as_str().to_ascii_lowercase()), *until)
            }
        };
        Self::Spent { at: now, by, until }
    }

    /// From the store.
    pub fn read(entry: &Entry) -> Result<Self, Damaged> {
        serde_json::from_slice(&entry.value)
            .map_err(|error| Damaged { key: entry.key.clone(), reason: error.to_string() })
    }

    /// Writes it.
    pub fn put(&self, txn: Txn, token: TokenHash) -> Txn {
        let until = match self {
            Self::Made { expires } => expires.checked_add(KEPT).unwrap_or(*expires),
            Self::Spent { until, .. } => *until,
        };
        let text = serde_json::to_string(self).expect("a trace is names and times");
        txn.put_until(layout::token_trace(token), text, until)
    }

    /// Why the token is no more.
    pub fn why(&self, now: Timestamp) -> String {
        match self {
            Self::Spent { at, by, .. } => format!("the token was spent at {at} by {by}"),
            Self::Made { expires } if *expires <= now => format!("the token expired at {expires}"),
            Self::Made { expires } => {
                format!("the token was removed before it ended, which would have been at {expires}")
            }
        }
    }
}
