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
pub mod neighbours;
pub mod ownership;
pub mod user;

mod calls;

use std::path::{Path, PathBuf};

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
    /// As root so far; as this account from then on.
    Drops(Account),
    /// As the user who started it.
    Stays,
}

impl Standing {
    /// What this process shall be.
    ///
    /// # Errors
    /// When the account that is configured cannot be used.
    pub fn of(config: &Config) -> Result<Self, AccountError> {
        if !is_root() {
            return Ok(Self::Stays);
        }
        Ok(Self::Drops(Account::find(config.user.as_deref(), account::number(&config.services))?))
    }
}

/// What the daemon's files are, for Landlock.
#[must_use]
pub fn files(config: &Config, config_file: &Path) -> Files {
    let services = &config.services;
    let mut written = vec![config.data_dir.clone()];
    written.extend(services.auth.as_ref().and_then(|auth| beside(&auth.storage)));
    if let LogOutput::File(path) = &config.log.output {
        written.extend(beside(path));
    }
    written.extend(config.pid_file.as_deref().and_then(beside));
    let keypairs = services.proxy.iter().flat_map(|proxy| &proxy.keypairs);
    let keypairs = keypairs.flat_map(|pair| [&*pair.key_file, &*pair.cert_file]);
    let mut read = Vec::new();
    for file in std::iter::once(config_file).chain(keypairs) {
        // By its name, where the next one will be; and where the name leads to now.
        read.extend(beside(file));
        read.extend(file.canonicalize().ok().as_deref().and_then(beside));
    }
    let commands = services.node.as_ref().is_some_and(|node| !node.commands.is_empty());
    Files { written, read, programs: commands }
}

/// The directory that a file is in.
fn beside(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    Some(if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() })
}

/// Confines the process; what the kernel does not have is told and left out.
#[must_use]
pub fn confine(files: &Files) -> Confinement {
    confine::confine(files)
}

/// From now on nothing in this process listens that does not yet.
pub fn no_more_listeners() {
    if let held @ confine::Held::Not(_) = confine::no_more_listeners() {
        tracing::warn!(seccomp = %held, "the process could listen on further ports");
    }
}

#[cfg(test)]
mod tests {
    use super::files;
    use crate::config::parse;
    use std::path::{Path, PathBuf};

    #[test]
    fn the_directories_of_what_is_written_and_read_again_are_known() {
        let keys = tempfile::tempdir().expect("a directory");
        let (real, name) = (keys.path().join("real"), keys.path().join("name"));
        for directory in [&real, &name] {
            std::fs::create_dir(directory).expect("made");
        }
        std::fs::write(real.join("key"), "").expect("written");
        std::os::unix::fs::symlink(real.join("key"), name.join("key")).expect("linked");
        let text = format!(
            "version: v3\npostern: {{data_dir: /d, pid_file: /p/pid, log: {{output: /l/log}}, storage: {{path: /s/db}}}}\n\
             proxy_service: {{https_keypairs: [{{key_file: {}, cert_file: /c/cert}}]}}\n",
            name.join("key").display()
        );
        let config = parse("f", &text, "host").expect("valid");
        let files = files(&config, Path::new("f.yaml"));
        assert_eq!(files.written, ["/d", "/s", "/l", "/p"].map(PathBuf::from));
        let expected = [".".into(), name, real.canonicalize().expect("is there"), "/c".into()];
        assert_eq!(files.read, expected);
        assert!(!files.programs);
    }
}
