//! Runs one script to its end and says what it complained of.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use testkit::namespace::ran_in_own_network;
use testkit::programs::{command, theirs};
use testkit::run;

use super::scripts::{Script, find};
use super::stand::{Route, Stand};

/// Where the package puts them.
pub const SCRIPTS: &str = "/usr/lib/openssh/regress";
/// How long a script may take; the slowest needs a minute of sleeping by itself.
const DEADLINE: Duration = Duration::from_secs(300);
/// Programs and files that scripts expect in their directory of objects.
const HELPERS: [&str; 6] = ["netcat", "modpipe", "mkdtemp", "setuid-allowed", "check-perm", "config.h"];

/// The installed scripts, or a visible reason to skip.
pub fn installed() -> Option<PathBuf> {
    let found = Path::new(SCRIPTS).join("test-exec.sh").exists();
    if !found {
        assert!(
            !rustix::process::geteuid().is_root(),
            "openssh-tests is not installed; `make test` installs it"
        );
        eprintln!("SKIPPED: openssh-tests is not installed; `make test` installs it");
    }
    found.then(|| PathBuf::from(SCRIPTS))
}

/// The test of one script on one route; `test` is its own name.
pub fn script(route: Route, name: &str, test: &str) {
    let Some(_) = installed() else { return };
    let [Some(_), Some(_)] = [theirs("sshd"), theirs("sftp")] else { return };
    if ran_in_own_network(test) {
        return;
    }
    let script = find(name);
    let login = run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned();
    let stand = Stand::build(route, &login);
    let complaints = Run::prepare(&stand, script, &login).complaints();
    let unlike = script.unlike_expected(&complaints.failed);
    assert!(unlike.is_empty(), "{}: {unlike:#?}\n{}", script.name, complaints.output);
}

/// A script that is ready to run.
struct Run {
    objects: PathBuf,
    script: Command,
}

/// What it left.
struct Complaints {
    /// Failures as `step: message`, in order.
    failed: Vec<String>,
    output: String,
}

impl Run {
    fn prepare(stand: &Stand, script: &Script, login: &str) -> Self {
        let objects = stand.directory().join("objects");
        std::fs::create_dir(&objects).expect("a new directory");
        for helper in HELPERS {
            std::fs::copy(Path::new(SCRIPTS).join(helper), objects.join(helper)).expect("copied");
        }
        // sshd locks its unprivileged half up there, also to check a configuration. Only root may make it and needs it.
        std::fs::create_dir_all("/run/sshd").ok();
        make_keys(&objects);
        let mut shell = command("/bin/sh");
        shell.arg(Path::new(SCRIPTS).join("test-exec.sh")).arg(&objects);
        shell.arg(Path::new(SCRIPTS).join(format!("{}.sh", script.file()))).current_dir(&objects);
        shell.env("OBJ", &objects).env("BUILDDIR", &objects).env("TEST_SHELL", "/bin/sh");
        shell.env("HOME", &objects).env("LOGNAME", login).env("TEST_SSH_UNSAFE_PERMISSIONS", "1");
        shell.env("TEST_SSH_PORT", stand.port().to_string());
        shell.env("TEST_SSH_SSH", stand.program("ssh")).env("TEST_SSH_SSHD", stand.program("sshd"));
        shell.env("TEST_SSH_SCP", stand.program("scp"));
        shell.env("TEST_SSH_SFTPSERVER", stand.program("sftp-server"));
        shell.env("TEST_SSH_PLINK", "/nonexistent").env("TEST_SSH_PUTTYGEN", "/nonexistent");
        // It pairs MACs with a cipher that no node offers.
        if script.name == "integrity" {
            shell.env("NO_MACS", "yes");
        }
        Self { objects, script: shell }
    }

    fn complaints(mut self) -> Complaints {
        let log = self.objects.join("output");
        let file = File::create(&log).expect("a scratch file");
        self.script.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        // What a failed script leaves behind ends with its group.
        let mut child = self.script.process_group(0).spawn().expect("a shell");
        let code = wait(&mut child);
        kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
        let output = read(&log);
        let complaints = self.objects.join("failed-regress.log");
        let mut failed = failures(&read(&complaints).replace(&format!("{}/", self.objects.display()), ""));
        match code {
            None => failed.push(format!("not done after {DEADLINE:?}")),
            Some(0) if failed.is_empty() && !output.to_lowercase().contains("skipped") => {}
            Some(1) if !failed.is_empty() => {}
            Some(code) => failed.push(format!("ended with {code}")),
        }
        Complaints {
            failed,
            output: format!("{output}\n--- ssh\n{}", read(&self.objects.join("failed-ssh.log"))),
        }
    }
}

/// One key in the place of one of each kind, which would take longer to make than most scripts take: the node looks at
/// the bot's alone.
fn make_keys(objects: &Path) {
    let key = objects.join("key");
    run(command("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).ok();
    for kind in run(command("/usr/bin/ssh").args(["-Q", "key-plain"])).ok().lines() {
        std::fs::copy(&key, objects.join(kind)).expect("copied");
        std::fs::copy(objects.join("key.pub"), objects.join(format!("{kind}.pub"))).expect("copied");
    }
}

fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// For each failure the scripts save what their log has of the step, earlier failures in it too: the last one is new.
fn failures(log: &str) -> Vec<String> {
    let (mut failed, mut step, mut last) = (Vec::new(), "", None);
    for line in log.lines() {
        if let Some(next) = line.strip_prefix("trace: ") {
            failed.extend(last.take().map(|said| format!("{step}: {said}")));
            step = next.trim();
        } else if let Some(said) = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("FATAL: ")) {
            last = Some(said.trim());
        }
    }
    failed.extend(last.map(|said| format!("{step}: {said}")));
    failed
}

#[test]
fn every_script_of_the_package_is_accounted_for() {
    let Some(scripts) = installed() else { return };
    for entry in std::fs::read_dir(scripts).expect("readable") {
        let name = entry.expect("listed").file_name().into_string().expect("UTF-8");
        if let Some(name) = name.strip_suffix(".sh") {
            assert!(super::scripts::knows(name), "{name} neither runs nor stands among those that do not");
        }
    }
}
