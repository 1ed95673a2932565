//! Where the programs are that the tests run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of ours, built into the directory that this test was built into.
pub fn ours(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let built = test.ancestors().nth(2).expect("target/<profile>/deps/<test>").join(name);
    assert!(built.exists(), "{} is not built; run `make test`, which builds it first", built.display());
    built
}

/// A program of the system, or a visible reason to skip the test.
pub fn theirs(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        // CI is root: what it does not run, nobody does.
        assert!(!rustix::process::geteuid().is_root(), "{name} is not installed; `make test` installs it");
        eprintln!("SKIPPED: {name} is not installed; `make test` installs it");
    }
    found
}

/// A program that cannot be had everywhere, or a visible reason to skip the test.
pub fn where_present(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed, and `make test` cannot install it");
    }
    found
}

/// Where a package of npm is, or a visible reason to skip the test.
pub fn node_module(name: &str) -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.npm/node_modules");
    if modules.join(name).is_dir() {
        return Some(modules);
    }
    assert!(!rustix::process::geteuid().is_root(), "{name} is not installed; `make test` installs it");
    eprintln!("SKIPPED: {name} is not installed; `make test` installs it");
    None
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), venv()])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Where pip puts programs.
pub fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin")
}

/// Whether this test may become other users; says so when it may not.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root to switch users");
    }
    root
}

/// A command without the environment of whoever runs the tests, apart from `PATH`.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command
}
