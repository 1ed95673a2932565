//! A node, files on this side of it, and a place for them on the other.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use crate::support::{Fixture, NODENAME, login, text};

/// What the large file has, unless the environment says otherwise.
const BYTES: u64 = 96 << 20;
/// How many small files there are, unless the environment says otherwise.
const COUNT: u64 = 250;
/// How many of them are in one directory.
const TOGETHER: u64 = 100;
/// What of the large file is more than a hole, at both ends.
const NOISE: usize = 5_000_003;

pub struct Site {
    pub node: Fixture,
    dir: TempDir,
}

impl Site {
    pub async fn new() -> Self {
        let node = Fixture::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let site = Self { node, dir };
        fs::create_dir(site.here("")).expect("own directory");
        fs::create_dir(site.there("")).expect("own directory");
        let path = |name: &str| site.node.pki.path(name).display().to_string();
        let lines = format!(
            "Host {NODENAME}\n Hostname {}\n Port {}\n User {}\n HostKeyAlias {NODENAME}\n BatchMode yes\n\
             StrictHostKeyChecking yes\n IdentitiesOnly yes\n IdentityAgent none\n UserKnownHostsFile {}\n\
             IdentityFile {}\n CertificateFile {}\n",
            site.node.address.ip(),
            site.node.address.port(),
            login(),
            path("known_hosts"),
            path("alice"),
            path("alice-cert.pub"),
        );
        fs::write(site.config(), lines).expect("own directory");
        site
    }

    /// A file or directory on this side.
    pub fn here(&self, name: &str) -> PathBuf {
        self.dir.path().join("here").join(name)
    }

    /// One on the other side, which is the same machine.
    pub fn there(&self, name: &str) -> PathBuf {
        self.dir.path().join("there").join(name)
    }

    /// The same as clients write it.
    pub fn remote(&self, name: &str) -> String {
        format!("{NODENAME}:{}", self.there(name).display())
    }

    /// An `ssh_config` that leads to the node.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("ssh_config")
    }

    /// The command that other programs are to run as `ssh`.
    pub fn ssh(&self) -> String {
        format!("ssh -F {}", self.config().display())
    }

    /// Makes a file with a hole in its middle on this side.
    pub fn large(&self, name: &str) -> PathBuf {
        let size = number("POSTERN_FILE_BYTES", BYTES);
        let mut file = fs::File::create(self.here(name)).expect("own directory");
        file.write_all(&noise(NOISE, 1)).expect("room");
        file.seek(SeekFrom::Start(size - NOISE as u64)).expect("a file");
        file.write_all(&noise(NOISE, 2)).expect("room");
        self.here(name)
    }

    /// Makes many small files on this side, with modes, times, links and odd names.
    pub fn tree(&self, name: &str) -> PathBuf {
        let top = self.here(name);
        for number in 0..number("POSTERN_FILE_COUNT", COUNT) {
            let directory = top.join(format!("d{}", number / TOGETHER));
            if number % TOGETHER == 0 {
                fs::create_dir_all(&directory).expect("own directory");
            }
            let length = usize::try_from(number % 3000).expect("small");
            fs::write(directory.join(format!("file {number}")), noise(length, number)).expect("room");
        }
        fs::set_permissions(top.join("d0/file 1"), PermissionsExt::from_mode(0o751)).expect("own file");
        let then = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = fs::File::options().write(true).open(top.join("d0/file 1")).expect("own file");
        file.set_modified(then).expect("own file");
        fs::write(top.join("caf\u{e9} -x"), "odd").expect("room");
        top
    }

    /// The same with a link, for clients that copy links as such.
    pub fn tree_with_link(&self, name: &str) -> PathBuf {
        let top = self.tree(name);
        symlink("d0/file 1", top.join("link")).expect("own directory");
        top
    }

    /// Runs a client to its end, which has to be a good one.
    pub async fn must(&self, mut command: Command) -> Output {
        command.stdin(Stdio::null());
        let shown = format!("{command:?}");
        let mut command = tokio::process::Command::from(command);
        let ended = tokio::time::timeout(patience(), command.kill_on_drop(true).output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{shown} hangs")).expect("runs");
        assert!(output.status.success(), "{shown}\n{}\n{}", text(&output.stdout), text(&output.stderr));
        output
    }
}

/// What a client may take at the most.
fn patience() -> Duration {
    let work = number("POSTERN_FILE_BYTES", BYTES) / (8 << 20) + number("POSTERN_FILE_COUNT", COUNT) / 50;
    Duration::from_secs(120 + work)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => otherwise,
    }
}

/// Bytes without a pattern that a wrong offset could hide in.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The hash of a file's content.
pub fn hash(path: &Path) -> String {
    let output = Command::new("sha256sum").stdin(fs::File::open(path).expect("a file")).output();
    text(&output.expect("runs").stdout)
}

/// Every file below with the hash of its content.
pub fn contents(directory: &Path) -> String {
    shell(directory, "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum")
}

/// Every name below with its kind, its mode, and where it leads; for files also the time.
pub fn shape(directory: &Path) -> String {
    let what =
        r"find . -type f -printf '%p %m %Ts\n' -o -type d -printf '%p %y %m\n' -o -printf '%p %y %l\n'";
    shell(directory, &format!("{what} | sed 's/[.][0-9]*$//' | LC_ALL=C sort"))
}

fn shell(directory: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).current_dir(directory).output().expect("runs");
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}
