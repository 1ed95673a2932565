//! From a path to the checked configuration.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Config, check};

/// As much as is read of a file; the reader of YAML refuses less than this.
const MOST_BYTES: u64 = 2 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist.
    #[error("{path} does not exist; write one with `postern configure -o file`, or name yours with -c", path = .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{path}: cannot be read: {error}{next}", path = .0.display(), error = .1, next = next_step(.1))]
    Unreadable(PathBuf, io::Error),
    /// Anybody could change what this daemon, which usually is root, does.
    #[error("{path} can be written by every user of this host; run chmod o-w on it", path = .0.display())]
    WorldWritable(PathBuf),
    /// The content is wrong.
    #[error(transparent)]
    Mistakes(#[from] yaml::Mistakes),
}

fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root, or as the user whose file it is",
        _ => "",
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// When the file cannot be read or trusted, or with all of its mistakes.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        _ => ConfigError::Unreadable(path.to_owned(), error),
    };
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.is_file() && about.permissions().mode() & 0o002 != 0 {
        return Err(ConfigError::WorldWritable(path.to_owned()));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let mut config = check::parse(&path.display().to_string(), &text, &system_name())?;
    if let Some(pam) = config.services.node.as_ref().and_then(|node| node.pam.as_ref()) {
        config.warnings.extend(super::pam::missing(pam, Path::new("/")));
    }
    Ok(config)
}

/// The host name that the system has now.
fn system_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::ConfigError;
    use std::io::{Error, ErrorKind};

    #[test]
    fn who_may_not_read_the_file_is_told_who_may() {
        let said = |kind: ErrorKind| ConfigError::Unreadable("/f".into(), Error::from(kind)).to_string();
        assert!(
            said(ErrorKind::PermissionDenied)
                .ends_with("; run this as root, or as the user whose file it is")
        );
        assert!(!said(ErrorKind::IsADirectory).contains(';'));
    }
}
