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
    /// Who it is there, once it is a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// Every service.
    pub services: Vec<Service>,
}

/// One instance of a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The cluster's name.
    pub cluster: String,
    /// The bot's.
    pub bot: String,
    /// By which the cluster knows this one from others of the bot.
    pub id: String,
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} of {}", self.bot, self.id, self.cluster)
    }
}

impl Report {
    /// Writes it. A report that cannot be written costs nobody a credential, but the one before must not be taken for it.
    pub(super) fn keep(&self, storage: &Storage) {
        let written = serde_json::to_vec_pretty(self).map_err(|error| error.to_string());
        let written = written.and_then(|text| storage.keep(FILE, &text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "tbot status will not see how the agent is");
            Self::forget(storage);
        }
    }

    /// Removes the last one: what an earlier process said is not about this one.
    pub(super) fn forget(storage: &Storage) {
        if let Err(error) = storage.forget(FILE) {
            tracing::warn!(%error, "tbot status will see an old report");
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

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::agent::storage::Storage;
    use crate::destination::{Destination, Directory, Symlinks};
    use jiff::Timestamp;

    #[test]
    fn a_report_that_cannot_be_written_takes_the_one_before_with_it() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let place = || Destination::Directory(Directory::new(scratch.path(), Symlinks::TrySecure));
        let storage = Storage::open(place()).expect("opens");
        let report = Report {
            version: "1".to_owned(),
            pid: 1,
            started_at: Timestamp::now(),
            written_at: Timestamp::now(),
            server: "p:1".to_owned(),
            instance: None,
            services: Vec::new(),
        };
        report.keep(&storage);
        assert!(Report::read(&place()).expect("reads").is_some());
        // Where the next one is prepared, nothing can be written.
        std::fs::create_dir(scratch.path().join(".partial-status.json")).expect("ours");
        report.keep(&storage);
        assert!(Report::read(&place()).expect("reads").is_none());
    }
}
