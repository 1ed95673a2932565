//! Destinations, from the file to what can be written to.

use super::file;
use crate::destination::{Acls, Destination, Directory, Memory, Reader, Secret, Symlinks, kubernetes};
use std::path::PathBuf;
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
    misplaced(key, settings, report);
    match settings.kind {
        file::DestinationKind::Memory => Some(Destination::Memory(Memory::default())),
        file::DestinationKind::KubernetesSecret => secret(key, settings, report).map(Destination::Secret),
        file::DestinationKind::Directory => {
            let path_key = format!("{key}.path");
            let Some(path) = &settings.path else {
                report.mistake(path_key.as_str(), "missing; a directory destination needs a path");
                return None;
            };
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

/// What belongs to another kind of destination.
fn misplaced(key: &str, settings: &file::DestinationSettings, report: &mut Report<'_>) {
    use file::DestinationKind::{Directory, KubernetesSecret, Memory};
    let (directory, secret) = (settings.kind == Directory, settings.kind == KubernetesSecret);
    let kind = match settings.kind {
        Directory => "directory",
        KubernetesSecret => "kubernetes_secret",
        Memory => "memory",
    };
    for (name, given, belongs) in [
        ("path", settings.path.is_some(), directory),
        ("symlinks", settings.symlinks.is_some(), directory),
        ("acls", settings.acls.is_some(), directory),
        ("readers", !settings.readers.is_empty(), directory),
        ("name", settings.name.is_some(), secret),
        ("namespace", settings.namespace.is_some(), secret),
        ("labels", !settings.labels.is_empty(), secret),
        ("api_server", settings.api_server.is_some(), secret),
        ("token_path", settings.token_path.is_some(), secret),
        ("ca_path", settings.ca_path.is_some(), secret),
    ] {
        if given && !belongs {
            let text = format!("a {kind} destination has no {name}; remove it");
            report.mistake(format!("{key}.{name}").as_str(), text);
        }
    }
}

fn secret(key: &str, settings: &file::DestinationSettings, report: &mut Report<'_>) -> Option<Secret> {
    if key == "storage" {
        report.mistake("storage.type", "a kubernetes_secret is for outputs; use directory, or memory");
        return None;
    }
    let named = |name: &Option<String>| name.as_ref().is_none_or(|name| kubernetes::is_name(name));
    for (name, given) in [("name", &settings.name), ("namespace", &settings.namespace)] {
        if !named(given) {
            let text = "is no name of Kubernetes: small letters, digits, - and . between them";
            report.mistake(format!("{key}.{name}").as_str(), text);
        }
    }
    if settings.api_server.as_ref().is_some_and(|server| !server.starts_with("https://")) {
        report.mistake(format!("{key}.api_server").as_str(), "write https://host:port");
    }
    let Some(name) = settings.name.clone() else {
        report
            .mistake(format!("{key}.name").as_str(), "missing; a kubernetes_secret destination needs a name");
        return None;
    };
    let api = kubernetes::Api {
        server: settings.api_server.clone(),
        token: settings.token_path.as_ref().map(PathBuf::from),
        authority: settings.ca_path.as_ref().map(PathBuf::from),
    };
    Some(Secret { name, namespace: settings.namespace.clone(), labels: settings.labels.clone(), api })
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
