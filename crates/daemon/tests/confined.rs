//! What a process cannot do any more that has given up its rights as the daemon does. Another process tries, because there is
//! no way back.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root's directory with a data directory, a configuration, and a directory that everybody may write to.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        // Not in /tmp, where programs that are started may write.
        let root = rustix::process::geteuid().is_root();
        let place = if root { tempfile::tempdir_in("/var/lib") } else { tempfile::tempdir() };
        let place = place.expect("a directory");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        open(place.path(), 0o755);
        for name in ["data", "elsewhere", "conf"] {
            std::fs::create_dir(place.path().join(name)).expect("made");
        }
        open(&place.path().join("elsewhere"), 0o777);
        std::fs::write(place.path().join("elsewhere/open"), "x").expect("written");
        std::fs::write(place.path().join("data/postern.lock"), "").expect("written");
        let config = format!(
            "version: v3\npostern: {{data_dir: {}}}\nauth_service: {{cluster_name: a.example}}\nssh_service: {{enabled: no}}\n",
            place.path().join("data").display()
        );
        std::fs::write(place.path().join("conf/postern.yaml"), config).expect("written");
        Self(place)
    }

    /// What came of each attempt.
    fn attempts(&self, wrapper: &[&str], flags: &[&str]) -> BTreeMap<String, String> {
        let mut words: Vec<PathBuf> = wrapper.iter().map(PathBuf::from).collect();
        words.push(example());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(self.0.path().join("data"))
            .arg(self.0.path().join("conf/postern.yaml"));
        let output = command.args(flags).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let pairs = text.lines().filter_map(|line| line.split_once(": "));
        pairs.map(|(what, came)| (what.to_owned(), came.to_owned())).collect()
    }
}

/// Built with the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(2).expect("target/debug/deps/test").join("examples/confined")
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root to give it up");
    }
    root
}

fn came(attempts: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (what, came) in expected {
        assert_eq!(attempts.get(*what).map(String::as_str), Some(*came), "{what}: {attempts:#?}");
    }
}

const DENIED: &str = "PermissionDenied";

#[test]
fn what_was_root_can_do_its_work_and_nothing_else() {
    if !is_root() {
        return;
    }
    let attempts = Place::new().attempts(&["env"], &[]);
    came(
        &attempts,
        &[
            ("write in the data directory", "done"),
            ("read the configuration", "done"),
            ("open a terminal", "done"),
            ("start a thread", "done"),
            ("open a usual socket", "done"),
            ("look at the launcher's directory", DENIED),
            ("remove root's lock", DENIED),
            ("move the launcher's directory", DENIED),
            ("become root", DENIED),
            ("change the root", DENIED),
            ("give a file away", DENIED),
            ("change a mode", DENIED),
            ("set an attribute", DENIED),
            ("resolve a name", "done"),
        ],
    );
    by_the_kernel(&attempts);
    came(&attempts, &[("start a program", DENIED), ("open a rare socket", DENIED)]);
    // Without Landlock too, and of kinds that it does not know.
    came(&attempts, &[("listen", DENIED), ("take a port of UDP", DENIED)]);
    came(&attempts, &[("open a socket of several paths", DENIED)]);
    came(&attempts, &[("listen while services start", "done")]);
    came(&attempts, &[("listen without a port", DENIED), ("listen in another thread", DENIED)]);
}

/// What only Landlock can refuse; the mode of the directory allows it.
fn by_the_kernel(attempts: &BTreeMap<String, String>) {
    match attempts["confinement"].starts_with("in force") {
        true => came(attempts, &[("write elsewhere", DENIED)]),
        false => eprintln!("SKIPPED: {}", attempts["confinement"]),
    }
    if attempts["confinement"].starts_with("in force /") {
        came(attempts, &[("read elsewhere", DENIED)]);
    }
}

#[test]
fn with_programs_these_are_confined_as_well() {
    if !is_root() {
        return;
    }
    let attempts = Place::new().attempts(&["env"], &["--programs"]);
    came(&attempts, &[("start a program", "done"), ("make a namespace by a program", DENIED)]);
    came(&attempts, &[("change a mode", DENIED), ("listen without a port", DENIED)]);
    match attempts["calls that are not refused"].as_str() {
        "NotFound" => eprintln!("SKIPPED: no python3 to make calls by their numbers"),
        calls => assert_eq!(calls, "none"),
    }
    match attempts["confinement"].starts_with("in force") {
        true => came(&attempts, &[("write elsewhere", DENIED), ("read elsewhere", "done")]),
        false => eprintln!("SKIPPED: {}", attempts["confinement"]),
    }
}

#[test]
fn who_is_not_root_is_confined_too() {
    let place = Place::new();
    let wrapper: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        false => &["env"],
    };
    if rustix::process::geteuid().is_root() {
        let data = place.0.path().join("data");
        std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).expect("chown");
    }
    let attempts = place.attempts(wrapper, &["--stay"]);
    came(&attempts, &[("write in the data directory", "done"), ("start a program", DENIED)]);
    came(&attempts, &[("become root", DENIED), ("change the root", DENIED)]);
    by_the_kernel(&attempts);
}
