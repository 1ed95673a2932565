//! What the daemon may do on its machine, and how it gives up all the rest, for good, before it reads the first byte from
//! the network.
//!
//! Started as root, it takes what only root can (ports, keys, its data directory), becomes a user of its own without any
//! capability, and then confines itself: Landlock says which files, seccomp which system calls. Started as somebody else, it
//! stays that user and confines itself in the same way. Everything here happens while the process has one thread: what a
//! thread gives up, its later threads never have.
//!
//! Nothing here may be needed again later: there is no way back, and no way to look for one.

pub mod account;
pub mod confine;
pub mod files;
pub mod ownership;
pub mod user;

mod calls;

use std::path::PathBuf;

use account::{Account, AccountError};
use confine::{Confinement, Files};

use crate::config::{Config, LogOutput};

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How the daemon goes on after it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As root: it starts sessions of other users itself.
    Root,
    /// As root so far; as this account from then on.
    Drops(Account),
    /// As the user who started it.
    Stays,
}

impl Standing {
    /// What this process shall be. `sessions_here` says that it starts sessions itself.
    ///
    /// # Errors
    /// When the account that is configured cannot be used.
    pub fn of(config: &Config, sessions_here: bool) -> Result<Self, AccountError> {
        if !is_root() {
            return Ok(Self::Stays);
        }
        // Looked at in any case: a mistake shows at the first start.
        let account = Account::find(config.user.as_deref())?;
        Ok(if sessions_here { Self::Root } else { Self::Drops(account) })
    }
}

/// What the daemon's files are, for Landlock.
#[must_use]
pub fn files(config: &Config, config_file: &std::path::Path) -> Files {
    let beside = |path: &std::path::Path| path.parent().map(std::path::Path::to_owned);
    let services = &config.services;
    let mut written = vec![config.data_dir.clone()];
    written.extend(services.auth.as_ref().and_then(|auth| beside(&auth.storage)));
    if let LogOutput::File(path) = &config.log.output {
        written.extend(beside(path));
    }
    written.extend(config.pid_file.as_deref().and_then(beside));
    let mut read: Vec<PathBuf> = beside(config_file).into_iter().collect();
    for pair in services.proxy.iter().flat_map(|proxy| &proxy.keypairs) {
        read.extend([&pair.key_file, &pair.cert_file].into_iter().filter_map(|file| beside(file)));
    }
    let commands = services.node.as_ref().is_some_and(|node| !node.commands.is_empty());
    Files { written, read, programs: commands }
}

/// Confines the process; what the kernel does not have is told and left out.
#[must_use]
pub fn confine(files: &Files) -> Confinement {
    confine::confine(files)
}
