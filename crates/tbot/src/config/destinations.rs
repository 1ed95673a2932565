//! Destinations, from the file to what can be written to.

use super::file;
use crate::destination::{Acls, Destination, Directory, Memory, Reader, Symlinks};
use yaml::Report;

/// The destination at `key`, or mistakes.
pub(super) fn destination(
    key: &str,
    file: &file::Destination,
    report: &mut Report<'_>,
) -> Option<Destination> {
    let settings = match file {
        file::Destination::Path(path) => {
            return directory(key, path, Symlinks::TrySecure, report).map(Destination::Directory);
        }
        file::Destination::Settings(settings) => settings,
    };
    let path_key = format!("{key}.path");
    match (settings.kind, &settings.path) {
        (file::DestinationKind::Memory, None) => {
            if !settings.readers.is_empty() {
                let text = "a memory destination has no readers; remove them";
                report.mistake(format!("{key}.readers").as_str(), text);
            }
            Some(Destination::Memory(Memory::default()))
        }
        (file::DestinationKind::Memory, Some(_)) => {
            report.mistake(path_key.as_str(), "a memory destination has no path; remove it");
            None
        }
        (file::DestinationKind::Directory, None) => {
            report.mistake(path_key.as_str(), "missing; a directory destination needs a path");
            None
        }
        (file::DestinationKind::Directory, Some(path)) => {
            let directory = directory(&path_key, path, symlinks(settings), report);
            let acls = match settings.acls.unwrap_or(file::Acls::Try) {
                file::Acls::Off => Acls::Off,
                file::Acls::Try => Acls::Try,
                file::Acls::Required => Acls::Required,
            };
            let readers = readers(key, settings, acls, report);
            directory.map(|directory| Destination::Directory(directory.acls(acls).readers(readers)))
        }
    }
}

fn symlinks(settings: &file::DestinationSettings) -> Symlinks {
    match settings.symlinks.unwrap_or(file::Symlinks::TrySecure) {
        file::Symlinks::Secure => Symlinks::Secure,
        file::Symlinks::TrySecure => Symlinks::TrySecure,
        file::Symlinks::Insecure => Symlinks::Insecure,
    }
}

/// Whether they exist is seen when they are let in: accounts come and go.
fn readers(
    key: &str,
    settings: &file::DestinationSettings,
    acls: Acls,
    report: &mut Report<'_>,
) -> Vec<Reader> {
    let given = &settings.readers;
    if !given.is_empty() && key == "storage" {
        report.mistake("storage.readers", "nobody but the agent reads its storage; remove it");
    } else if !given.is_empty() && acls == Acls::Off {
        let text = "they are let in by access control lists; use acls: try or required";
        report.mistake(format!("{key}.readers").as_str(), text);
    }
    let one = |(nth, reader): (usize, &file::Reader)| match (&reader.user, &reader.group) {
        (Some(user), None) if !user.is_empty() => Some(Reader::User(user.clone())),
        (None, Some(group)) if !group.is_empty() => Some(Reader::Group(group.clone())),
        _ => {
            report.mistake(format!("{key}.readers[{nth}]").as_str(), "give either user or group");
            None
        }
    };
    given.iter().enumerate().filter_map(one).collect()
}

fn directory(key: &str, path: &str, symlinks: Symlinks, report: &mut Report<'_>) -> Option<Directory> {
    // The path ends up in ssh_config, where these would have to be escaped.
    if path.is_empty() || path.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')) {
        report.mistake(key, "is empty or contains quotes, backslashes or control characters");
        return None;
    }
    Some(Directory::new(path, symlinks))
}
