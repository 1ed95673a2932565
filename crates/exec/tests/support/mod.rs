//! A host to start sessions on: its own accounts, seen by nobody else.
//!
//! Tests must not create users. So the account files are temporary ones, mounted over the real ones in a mount namespace
//! that ends with the command that runs in it.

#![allow(dead_code, reason = "each test program uses its part of this")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The account that most tests use.
pub const LOGIN: &str = "tess";
pub const UID: u32 = 61_001;
pub const GID: u32 = 61_002;
/// Its supplementary groups.
pub const GROUPS: [u32; 2] = [61_003, 61_004];

/// The program under test.
pub fn helper() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_session-exec"))
}

/// The example that plays the node.
pub fn local_session() -> PathBuf {
    let path = helper().parent().expect("a target directory").join("examples/local_session");
    assert!(path.exists(), "build the examples first: cargo build -p exec --examples");
    path
}

/// Whether this test can run; says so when it cannot.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root, to start sessions as another user");
    }
    root
}

/// A host with accounts of its own. `home` and everything in it belong to [`LOGIN`].
pub struct Host {
    dir: TempDir,
}

impl Host {
    /// `None`, said aloud, where a test cannot have its own accounts.
    pub fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let host = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        fs::set_permissions(host.path(""), Permissions::from_mode(0o755)).expect("own directory");
        fs::create_dir(host.home()).expect("a home");
        std::os::unix::fs::chown(host.home(), Some(UID), Some(GID)).expect("root may");
        for directory in ["run", "log", "pam.d"] {
            fs::create_dir(host.path(directory)).expect("own directory");
        }
        for record in ["run/utmp", "log/wtmp", "log/lastlog"] {
            host.write(record, "");
        }
        host.write("shells", "/bin/sh\n/bin/bash\n");
        host.write("motd", "the message\nof the day\n");
        host.write("nsswitch.conf", "passwd: files\ngroup: files\n");
        host.write("login.defs", "ENV_SUPATH PATH=/usr/sbin:/usr/bin:/sbin:/bin:/test-root\nENV_PATH PATH=/usr/bin:/bin:/test-user\n");
        let home = host.home();
        let home = home.display();
        host.write(
            "passwd",
            &format!(
                "root:x:0:0:root:/root:/bin/sh\n\
                 {LOGIN}:x:{UID}:{GID}::{home}:/bin/sh\n\
                 homeless:x:61011:{GID}::/nonexistent/home:/bin/sh\n\
                 lockedhome:x:61012:{GID}::/root/private:/bin/sh\n\
                 shellless:x:61013:{GID}::{home}:/nonexistent/shell\n\
                 relative:x:61014:{GID}::/:bin/sh\n\
                 default:x:61015:{GID}::/:\n\
                 nologin:x:61016:{GID}::/:/usr/sbin/nologin\n\
                 locked:x:61017:{GID}::/:/bin/sh\n\
                 expired:x:61018:{GID}::/:/bin/sh\n\
                 keyonly:x:61019:{GID}::/:/bin/sh\n\
                 restricted:x:61020:{GID}::/:/usr/bin/rbash\n\
                 unlisted:x:61021:{GID}::/:/bin/cat\n\
                 starred:x:61022:{GID}::/:/bin/sh\n"
            ),
        );
        host.write(
            "shadow",
            "locked:!$6$salt$hash:19000:0:99999:7:::\nexpired:*:19000:0:99999:7::1:\nkeyonly:!:19000:0:99999:7:::\nstarred:!*:19000:0:99999:7:::\n",
        );
        let [first, second] = GROUPS;
        host.write(
            "group",
            &format!("root:x:0:\ntty:x:5:\ntess:x:{GID}:\nfirst:x:{first}:{LOGIN}\nsecond:x:{second}:root,{LOGIN}\nother:x:61005:root\n"),
        );
        if host.command("true", &[]).status().is_ok_and(|status| status.success()) {
            return Some(host);
        }
        eprintln!("SKIPPED: needs unshare(1) and the right to mount, for accounts of its own");
        None
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Rules of PAM for a service of this name.
    pub fn pam(&self, service: &str, rules: &str) {
        self.write(&format!("pam.d/{service}"), rules);
    }

    /// The records of one of the files that `utmpdump` reads, without the time, which is the last field.
    pub fn records(&self, name: &str) -> Vec<String> {
        let dump = Command::new("utmpdump").arg(self.path(name)).output().expect("util-linux is everywhere");
        let lines = String::from_utf8(dump.stdout).expect("text");
        lines.lines().filter_map(|line| Some(line.rsplit_once('[')?.0.trim().to_owned())).collect()
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file in the own directory");
    }

    /// A program on this host.
    pub fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Command {
        const ENTER: &str = r#"for file in passwd shadow shells group nsswitch.conf login.defs motd pam.d; do
                if test -e "/etc/$file"; then mount --bind "$0/$file" "/etc/$file" || exit 99; fi
            done
            mount --bind "$0/run" /run && mount --bind "$0/log" /var/log || exit 99
            exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER]);
        command.arg(self.dir.path()).arg(program.as_ref()).args(args);
        command
    }

    /// The example with these arguments on this host.
    pub fn session(&self, args: &[&str]) -> Command {
        self.command(local_session(), args)
    }

    /// Runs a command in a session of `login` to its end, without input.
    pub fn run(&self, login: &str, command: &str) -> Output {
        self.session(&[login, "exec", command]).stdin(Stdio::null()).output().expect("unshare runs")
    }
}

/// Waits for something that another process does.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited in vain for {what}");
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
