//! Destinations, from the file to what can be written to.

use super::file;
use crate::destination::{Destination, Directory, Memory, Symlinks};
use yaml::Report;

/// The destination at `key`, or mistakes.
pub(super) fn destination(
    key: &str,
    file: &file::Destination,
    report: &mut Report<'_>,
) -> Option<Destination> {
    let settings = match file {
        file::Destination::Path(path) => return directory(key, path, Symlinks::TrySecure, true, report),
        file::Destination::Settings(settings) => settings,
    };
    match (settings.kind, &settings.path) {
        (file::DestinationKind::Memory, None) => Some(Destination::Memory(Memory::default())),
        (file::DestinationKind::Memory, Some(_)) => {
            report.mistake(format!("{key}.path").as_str(), "a memory destination has no path; remove it");
            None
        }
        (file::DestinationKind::Directory, None) => {
            report.mistake(format!("{key}.path").as_str(), "missing; a directory destination needs a path");
            None
        }
        (file::DestinationKind::Directory, Some(path)) => {
            let symlinks = match settings.symlinks.unwrap_or(file::Symlinks::TrySecure) {
                file::Symlinks::Secure => Symlinks::Secure,
                file::Symlinks::TrySecure => Symlinks::TrySecure,
                file::Symlinks::Insecure => Symlinks::Insecure,
            };
            let acls = settings.acls != Some(file::Acls::Off);
            directory(&format!("{key}.path"), path, symlinks, acls, report)
        }
    }
}

fn directory(
    key: &str,
    path: &str,
    symlinks: Symlinks,
    acls: bool,
    report: &mut Report<'_>,
) -> Option<Destination> {
    // The path ends up in ssh_config, where these would have to be escaped.
    if path.is_empty() || path.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')) {
        report.mistake(key, "is empty or contains quotes, backslashes or control characters");
        return None;
    }
    Some(Destination::Directory(Directory::new(path, symlinks).acls(acls)))
}
