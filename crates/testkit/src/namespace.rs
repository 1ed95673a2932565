//! A test in a network of its own: others' scripts take fixed ports, which two of them at a time cannot have.

use crate::programs::root;
use std::process::Command;

/// Set for the test that runs inside.
const INSIDE: &str = "POSTERN_TEST_NETWORK";

/// Runs the test of this name (as `--exact` takes it) once more in a network namespace with nothing but a loopback
/// interface, and says that it has; `false` inside, where the test goes on, and where namespaces cannot be had.
pub fn ran_in_own_network(test: &str) -> bool {
    if is_own_network() || !root() || !available() {
        return false;
    }
    let this = std::env::current_exe().expect("a running test has a path");
    let mut inside = Command::new("unshare");
    inside.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    inside.arg(this).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let status = inside.status().unwrap_or_else(|error| panic!("{inside:?}: {error}"));
    assert!(status.success(), "{test} failed in its own network");
    true
}

/// Whether this runs inside.
pub fn is_own_network() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn available() -> bool {
    let tried = Command::new("unshare").args(["--net", "sh", "-c", "ip link set lo up"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}
