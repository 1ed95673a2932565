//! `status.json` in the storage: what the running agent last knew of itself, for `tbot status` and `tbot wait`. No secrets.

use super::storage::{self, Storage};
use crate::destination::{Destination, DestinationError};
use crate::health::Service;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The name of the file.
pub const FILE: &str = "status.json";

/// What the agent knew when it last did something.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The agent's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When this was written.
    pub written_at: Timestamp,
    /// Where its cluster is.
    pub server: String,
    /// Every service.
    pub services: Vec<Service>,
}

impl Report {
    /// Writes it. A report that cannot be written costs nobody a credential.
    pub(super) fn keep(&self, storage: &Storage) {
        let written = serde_json::to_vec_pretty(self).map_err(|error| error.to_string());
        let written = written.and_then(|text| storage.keep(FILE, &text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "tbot status will not see how the agent is");
        }
    }

    /// Reads the last one in `storage`; `None` when there is none, or none of this version's.
    pub fn read(storage: &Destination) -> Result<Option<Self>, DestinationError> {
        let text = storage.kept(FILE)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }
}

/// Whether an agent runs on this storage now.
pub fn is_running(storage: &Destination) -> bool {
    storage.path().is_some_and(storage::is_locked)
}
