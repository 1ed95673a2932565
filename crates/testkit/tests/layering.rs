//! Holds the crates to the edges of `docs/src/architecture.md`: a node must not be able to sign, a client must
//! not link the server, and that is a test, not a wish.

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Crate, and the crates of ours that it may depend on. The copy for people is in the architecture page.
const ALLOWED: &[(&str, &[&str])] = &[
    ("access", &[]),
    ("yaml", &[]),
    ("store", &[]),
    ("exec", &[]),
    ("identity", &["access"]),
    ("ca", &["access", "identity"]),
    ("join", &["access", "identity"]),
    ("api", &["access", "identity"]),
    ("ssh", &[]),
    ("transport", &["access", "identity", "api", "ssh"]),
    ("agent", &["access", "identity", "join", "api", "transport"]),
    ("auth", &["access", "identity", "ca", "join", "api", "transport", "store"]),
    ("proxy", &["access", "identity", "api", "transport", "agent"]),
    ("launcher", &["access", "identity", "exec", "ssh"]),
    ("node", &["access", "identity", "api", "transport", "agent", "exec", "launcher"]),
    ("tbot", &["access", "identity", "join", "api", "transport", "yaml"]),
    ("cli", &["access", "identity", "api", "transport"]),
    ("daemon", &["auth", "proxy", "node", "agent", "transport", "access", "identity", "yaml"]),
];

/// Which of ours may link a dependency of others that stands for a power.
const POWERS: &[(&str, &[&str])] = &[
    ("rustls", &["transport"]),
    // A peer in tests, and nowhere else.
    ("russh", &[]),
    ("rusqlite", &["store"]),
    ("sntrup", &["ssh"]),
    // The daemon takes the numbers of system calls from it, to deny them; without unsafe code it can call none.
    ("libc", &["exec", "daemon"]),
    ("landlock", &["daemon"]),
    ("seccompiler", &["daemon"]),
    ("tonic", &["api", "transport", "agent", "auth", "proxy", "node", "tbot", "cli"]),
];

fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs");
    let normal = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
            .map(|dependency| dependency.name.clone())
            .collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), normal(package))).collect()
}

#[test]
fn crates_depend_on_what_the_table_allows() {
    let crates = workspace();
    let ours: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (name, dependencies) in &crates {
        if name == "testkit" {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(krate, _)| krate == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let edges = dependencies.iter().filter(|dependency| ours.contains(dependency.as_str()));
        wrong.extend(
            edges
                .filter(|edge| !allowed.contains(&edge.as_str()))
                .map(|edge| format!("{name} -> {edge} is not allowed")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn powers_stay_in_their_rooms() {
    let crates = workspace();
    let mut wrong = Vec::new();
    for (power, rooms) in POWERS {
        let holders = crates.iter().filter(|(_, dependencies)| dependencies.contains(*power));
        wrong.extend(
            holders
                .filter(|(name, _)| !rooms.contains(&name.as_str()) && *name != "testkit")
                .map(|(name, _)| format!("{name} must not link {power}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
