//! The one thing that is read from a daemon's configuration: where its data directory is.
//!
//! Everything else in the file is the daemon's business, mistakes included: an administrator must be able to repair
//! a cluster whose configuration is half edited.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a daemon keeps its state unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/postern";

/// Why the file does not say where the data directory is.
#[derive(Debug, thiserror::Error)]
pub enum LocalConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}; {next}", next = next_step(.error))]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{path} is not YAML: {reason}; postern configure --check tells all its mistakes")]
    NotYaml {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
}

#[derive(Deserialize)]
struct File {
    postern: Option<Section>,
    teleport: Option<Section>,
    #[serde(flatten)]
    _rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Section {
    data_dir: Option<PathBuf>,
    #[serde(flatten)]
    _rest: BTreeMap<String, IgnoredAny>,
}

fn next_step(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run this as root, or as whoever started the auth service",
        _ => "name the configuration of the auth service with -c",
    }
}

/// The data directory that the configuration at `path` names. A missing file is the default, unless somebody named
/// the file.
pub fn data_dir(path: &Path, named: bool) -> Result<PathBuf, LocalConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => data_dir_in(&text)
            .map_err(|reason| LocalConfigError::NotYaml { path: path.display().to_string(), reason }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(DEFAULT_DATA_DIR.into()),
        Err(error) => Err(LocalConfigError::Unreadable { path: path.display().to_string(), error }),
    }
}

fn data_dir_in(text: &str) -> Result<PathBuf, String> {
    let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let sections = file.into_iter().flat_map(|file| [file.postern, file.teleport]).flatten();
    let named = sections.filter_map(|section| section.data_dir).next();
    Ok(named.unwrap_or_else(|| DEFAULT_DATA_DIR.into()))
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_DATA_DIR, data_dir, data_dir_in};
    use std::path::Path;

    #[test]
    fn only_the_data_directory_is_read() {
        for (text, expected) in [
            ("", DEFAULT_DATA_DIR),
            ("# nothing\n", DEFAULT_DATA_DIR),
            ("version: v3\npostern:\n", DEFAULT_DATA_DIR),
            ("version: v3\npostern:\n  nodename: x\n", DEFAULT_DATA_DIR),
            ("version: v3\npostern:\n  data_dir: /a\n", "/a"),
            ("teleport:\n  data_dir: /b b\n", "/b b"),
            (
                "version: v99\nunknown: [1, {x: y}]\npostern:\n  log: {severity: 7}\n  data_dir: /c\nauth_service: 5\n",
                "/c",
            ),
        ] {
            assert_eq!(data_dir_in(text).as_deref(), Ok(Path::new(expected)), "{text}");
        }
        assert!(data_dir_in("postern: [").is_err());
        assert!(data_dir_in("just text").is_err());
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let missing = Path::new("/nonexistent/postern.yaml");
        assert_eq!(data_dir(missing, false).expect("the default"), Path::new(DEFAULT_DATA_DIR));
        let error = data_dir(missing, true).expect_err("named and missing").to_string();
        assert!(error.starts_with("cannot read /nonexistent/postern.yaml: "), "{error}");
        assert!(error.ends_with("; name the configuration of the auth service with -c"), "{error}");
        let error = std::io::ErrorKind::PermissionDenied.into();
        let error = super::LocalConfigError::Unreadable { path: "/etc/postern.yaml".to_owned(), error };
        assert!(
            error.to_string().ends_with("; run this as root, or as whoever started the auth service"),
            "{error}"
        );
    }
}
