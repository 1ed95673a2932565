//! Directories: there or makeable, writable, nobody else's, with room.

use super::finding::Finding;
use crate::accounts;
use crate::agent::{ssh_host, sshd, workload, workload_api};
use crate::config::{Config, Content};
use crate::destination::Destination;
use crate::destination::directory::acl;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a set of files and its successor need, generously.
const ENOUGH: u64 = 1 << 20;
/// What an output would write.
const NAMES: [&str; 7] =
    ["key", "key.pub", "key-cert.pub", "identity", "tlscert", "known_hosts", "ssh_config"];

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(user) = other_user(config.storage.path()) {
        let said = format!("the storage belongs to uid {user}, and this is run by uid {}", me());
        let fix = format!("run it as the agent's user ({})", accounts::as_user(user));
        findings.push(Finding::warning("user", said, fix));
    }
    findings.push(one("storage", &config.storage, &[]));
    for output in &config.outputs {
        let what = format!("output {}", output.name);
        let names = match &output.content {
            Content::Identity { .. } => NAMES.to_vec(),
            Content::Svid(files) => workload::names(files),
            Content::SshHost { .. } => ssh_host::NAMES.to_vec(),
            Content::Sshd(_) => sshd::NAMES.to_vec(),
            Content::WorkloadApi(api) => {
                findings.push(socket(&what, &api.listen));
                continue;
            }
        };
        findings.push(one(&what, &output.destination, &names));
        findings.extend(way_of_readers(&what, &output.destination));
    }
    findings
}

fn socket(what: &str, listen: &Path) -> Finding {
    match workload_api::refuse_exposed(listen) {
        Ok(()) => Finding::good(what, format!("{} can be listened at", listen.display())),
        Err(error) => Finding::wrong(
            what,
            format!("{} cannot be listened at: {error}", listen.display()),
            "make its directory, for the agent's user alone to write to",
        ),
    }
}

/// A list on the directory helps nobody who cannot get to it.
fn way_of_readers(what: &str, destination: &Destination) -> Option<Finding> {
    let Destination::Directory(directory) = destination else { return None };
    if directory.known_readers().is_empty() {
        return None;
    }
    // One with a list of its own may let in just these.
    let closed = |above: &&Path| {
        std::fs::metadata(above).is_ok_and(|found| found.mode() & 0o001 == 0)
            && std::fs::File::open(above).is_ok_and(|file| matches!(acl::present(file), Ok(None)))
    };
    let above = directory.path().ancestors().skip(1).find(closed)?;
    Some(Finding::warning(
        what,
        format!("readers cannot get through {} to it", above.display()),
        format!("chmod o+x {}, or choose another directory", above.display()),
    ))
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn other_user(storage: Option<&Path>) -> Option<u32> {
    let owner = std::fs::metadata(storage?).ok()?.uid();
    (owner != me() && owner != 0).then_some(owner)
}

fn one(what: &str, destination: &Destination, names: &[&str]) -> Finding {
    if let Destination::Secret(secret) = destination {
        return match secret.prepare() {
            Ok(()) => {
                Finding::good(what, format!("{secret}: the API, its authority and a token for it are known"))
            }
            Err(error) => Finding::of(what, &error),
        };
    }
    let Destination::Directory(directory) = destination else {
        let lost = "it is in memory: gone when tbot ends";
        return match names.is_empty() {
            true => Finding::warning(what, lost, "name a directory, or have a token for each start"),
            false => Finding::good(what, lost),
        };
    };
    let path = directory.path().display();
    match directory.inspect(names) {
        Err(error) => Finding::of(what, &error),
        Ok(found) if found.free < ENOUGH || !found.free_files => Finding::wrong(
            what,
            format!("{path} has no room: {} KiB are free", found.free >> 10),
            "free some space, or choose another directory",
        ),
        Ok(found) if !found.exists => Finding::good(what, format!("{path} is not there yet and can be made")),
        Ok(found) if found.written && !directory.is_whole() => Finding::wrong(
            what,
            format!("some of what was written in {path} is gone"),
            "a running agent writes it again within half a minute; if none runs, start it",
        ),
        Ok(found) => {
            let written = if found.written { "written to" } else { "still empty" };
            Finding::good(
                what,
                format!("{path} is this user's, {written}, with {} MiB free", found.free >> 20),
            )
        }
    }
}
