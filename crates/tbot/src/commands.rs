//! One file for each command of `tbot`.

pub mod completion;
pub mod doctor;
pub mod exec;
pub mod init;
pub mod inspect;
pub mod install;
pub mod sshd;
pub mod start;
pub mod status;
pub mod wait;

use crate::agent::Source;
use crate::config::{Output, StartFlags, check};
use crate::destination::{Destination, Directory, Symlinks};
use std::path::PathBuf;

/// Something is not as it should be, and that is the answer: not everything is valid, or the time is over.
pub const NOT_READY: u8 = 3;

/// What a command that looks at an agent must know of it.
pub struct Place {
    /// Where the agent keeps its own identity.
    pub storage: Destination,
    /// What it writes, where a configuration says so.
    pub outputs: Vec<Output>,
}

impl Place {
    /// From the configuration file, else from `data_dir` or its default.
    pub fn find(config: Option<PathBuf>, data_dir: Option<&str>) -> Result<Self, String> {
        let flags = StartFlags { data_dir: data_dir.map(str::to_owned), ..StartFlags::default() };
        if config.is_some() {
            let (config, _) = Source { path: config, flags }.load().map_err(|mistakes| {
                format!("{mistakes}\nan agent that runs goes on with what it read before; see how it is with --data-dir DIR")
            })?;
            return Ok(Self { storage: config.storage, outputs: config.outputs });
        }
        let storage = Directory::new(data_dir.unwrap_or(check::DEFAULT_STORAGE), Symlinks::TrySecure);
        Ok(Self { storage: Destination::Directory(storage), outputs: Vec::new() })
    }
}
