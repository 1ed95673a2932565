//! Directories: there or makeable, writable, nobody else's, with room.

use super::finding::Finding;
use crate::config::Config;
use crate::destination::Destination;
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
        let fix = format!("run it as the agent's user: sudo -u '#{user}' tbot doctor ...");
        findings.push(Finding::warning("user", said, fix));
    }
    findings.push(one("storage", &config.storage, &[]));
    for output in &config.outputs {
        findings.push(one(&format!("output {}", output.name), &output.destination, &NAMES));
    }
    findings
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn other_user(storage: Option<&Path>) -> Option<u32> {
    let owner = std::fs::metadata(storage?).ok()?.uid();
    (owner != me() && owner != 0).then_some(owner)
}

fn one(what: &str, destination: &Destination, names: &[&str]) -> Finding {
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
        Ok(found) => {
            let written = if found.written { "written to" } else { "still empty" };
            Finding::good(
                what,
                format!("{path} is this user's, {written}, with {} MiB free", found.free >> 20),
            )
        }
    }
}
