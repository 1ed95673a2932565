//! The quickstart's script stops what it has started, and nothing that has its number now.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use testkit::programs::command;

/// A process that would sleep for longer than any test.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Self {
        Self(command("/bin/sleep").arg("1000").spawn().expect("starts"))
    }

    /// As proc(5) tells it: the 22nd field, counted after the name in brackets.
    fn born(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("lives");
        let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        rest.split(' ').nth(19).expect("22 fields").to_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_number_that_is_another_process_by_now_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (scripts, state) = (directory.path().join("scripts"), directory.path().join(".quickstart"));
    // Root's would be elsewhere if nobody else got here.
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    std::fs::create_dir(&scripts).expect("made");
    std::fs::create_dir(&state).expect("made");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/quickstart");
    std::fs::copy(script, scripts.join("quickstart")).expect("copied");
    let (mut ours, mut reused, mut unknown) = (Sleeper::start(), Sleeper::start(), Sleeper::start());
    let write = |name: &str, text: &str| std::fs::write(state.join(name), text).expect("written");
    for (name, process) in [("auth", &ours), ("proxy", &reused), ("node", &unknown)] {
        write(&format!("{name}.pid"), &process.0.id().to_string());
    }
    write("auth.born", &ours.born());
    write("proxy.born", "1");
    // Somebody has to wait for it, or it stays as one that has ended.
    let waiting = std::thread::spawn(move || ours.0.wait().expect("ends").success());
    let told = testkit::run(command("/bin/bash").arg(scripts.join("quickstart")).arg("--stop"));
    assert!(told.status.success(), "{told:?}");
    assert!(!waiting.join().expect("no panic"), "what it had started was killed");
    for process in [&mut reused, &mut unknown] {
        assert!(process.0.try_wait().expect("known").is_none(), "another process lives on");
    }
    assert_eq!(std::fs::read_dir(&state).expect("is there").count(), 0, "nothing is left to stop");
}
