//! Holds the dependencies to `deny.toml` with nothing but cargo, so that every run of the tests does. `make deny` holds more
//! of it (advisories) with cargo-deny, which is not on every machine.

use cargo_metadata::{CargoOpt, MetadataCommand, Package};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is read of `deny.toml`; other keys are cargo-deny's.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    wildcards: String,
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
    /// Then the crate is allowed once.
    #[serde(default, rename = "deny-multiple-versions")]
    several: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

fn rules() -> Rules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deny.toml");
    let text = std::fs::read_to_string(&path).expect("deny.toml is read");
    toml::from_str(&text).unwrap_or_else(|error| panic!("deny.toml: {error}"))
}

/// Every package that is built for one of the targets, with its versions. The metadata alone have more: also what only
/// features that nobody asks for would bring.
fn built(rules: &Rules) -> Vec<Package> {
    let mut names = BTreeSet::new();
    for target in &rules.graph.targets {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--workspace",
                "--all-features",
                "--prefix=none",
                "--format={p}",
                "--target",
            ])
            .arg(target)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        // `name v1.2.3`, then for some of them where they are from.
        let named = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        names.extend(listed.lines().map(named));
    }
    let metadata =
        MetadataCommand::new().features(CargoOpt::AllFeatures).other_options(["--locked".to_owned()]).exec();
    let mut packages = metadata.expect("cargo metadata runs").packages;
    packages.retain(|package| names.contains(&format!("{} v{}", package.name, package.version)));
    assert!(packages.len() > 100, "the tree is read");
    packages
}

fn theirs(packages: &[Package]) -> impl Iterator<Item = &Package> {
    packages.iter().filter(|package| package.source.is_some())
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "see deny.toml:\n{}", wrong.join("\n"));
}

#[test]
fn licences_are_among_those_allowed() {
    let rules = rules();
    let refused =
        |package: &&Package| !allows(&rules.licenses.allow, package.license.as_deref().unwrap_or_default());
    let packages = built(&rules);
    let wrong = theirs(&packages).filter(refused);
    assert_none(
        &wrong.map(|p| format!("{} {}: licence {:?}", p.name, p.version, p.license)).collect::<Vec<_>>(),
    );
}

#[test]
fn banned_crates_are_not_built_and_some_only_once() {
    let rules = rules();
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for package in theirs(&built(&rules)) {
        *versions.entry(package.name.to_string()).or_default() += 1;
    }
    let allowed = |ban: &Ban| usize::from(ban.several);
    let has = |ban: &Ban| versions.get(&ban.name).copied().unwrap_or_default();
    let wrong = rules.bans.deny.iter().filter(|ban| has(ban) > allowed(ban));
    assert_none(&wrong.map(|ban| format!("{} x {}: {}", has(ban), ban.name, ban.reason)).collect::<Vec<_>>());
    let once: Vec<&str> =
        rules.bans.deny.iter().filter(|ban| ban.several).map(|ban| ban.name.as_str()).collect();
    assert!(
        once.contains(&"rustls") && versions.contains_key("rustls"),
        "the rules and the tree speak of the same crates"
    );
}

#[test]
fn everything_is_from_crates_io_in_a_stated_version() {
    let rules = rules();
    assert_eq!(
        (rules.sources.unknown_registry.as_str(), rules.sources.unknown_git.as_str()),
        ("deny", "deny")
    );
    assert_eq!(rules.bans.wildcards, "deny");
    let packages = built(&rules);
    let mut wrong = Vec::new();
    for package in theirs(&packages) {
        let source = package.source.as_ref().map(ToString::to_string).unwrap_or_default();
        if source != CRATES_IO {
            wrong.push(format!("{} {} is not from crates.io: {source}", package.name, package.version));
        }
    }
    for package in packages.iter().filter(|package| package.source.is_none()) {
        let any = package.dependencies.iter().filter(|on| on.path.is_none() && on.req.to_string() == "*");
        wrong.extend(any.map(|on| format!("{} depends on any version of {}", package.name, on.name)));
    }
    assert_none(&wrong);
}

/// Whether an SPDX expression can be met with allowed licences alone. `/` is the old way to write `OR`.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(allowed, &mut rest) && rest.is_empty()
}

fn any_of(allowed: &BTreeSet<String>, words: &mut &[&str]) -> bool {
    let mut met = all_of(allowed, words);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        met |= all_of(allowed, words);
    }
    met
}

fn all_of(allowed: &BTreeSet<String>, words: &mut &[&str]) -> bool {
    let mut met = licence(allowed, words);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        met &= licence(allowed, words);
    }
    met
}

fn licence(allowed: &BTreeSet<String>, words: &mut &[&str]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(allowed, words);
            let closed = words.first() == Some(&")");
            *words = words.get(1..).unwrap_or_default();
            met && closed
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(*name)
        }
        [] => false,
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT OR ISC AND GPL-3.0", true),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(MIT OR ISC) AND (GPL-3.0 OR LGPL-2.1)", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("MIT WITH LLVM-exception", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ] {
        assert_eq!(allows(&allowed, expression), met, "{expression}");
    }
}
