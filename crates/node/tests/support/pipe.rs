//! Pipes through a node or through stock sshd, each with a deadline, for a hang is what they are to show.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::Sshd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use transport::ssh::Rekey;

use super::{Fixture, NODENAME, Pki, text, until, user};

/// What a small pipe takes at the most on a slow machine; only a hang takes longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A server under test.
pub enum Server {
    Node(Box<Fixture>),
    /// OpenSSH's own.
    Stock(Sshd, Pki),
}

impl Server {
    pub async fn node() -> Self {
        Self::Node(Box::new(Fixture::start().await))
    }

    pub async fn node_that_rekeys_after(bytes: u64) -> Self {
        let rekey = Rekey { bytes, ..Rekey::default() };
        Self::Node(Box::new(Fixture::start_with(json!({}), |config| config.rekey = rekey).await))
    }

    pub fn stock(more: &str) -> Self {
        let pki = Pki::new();
        pki.certify("alice", user("alice"), |_| {});
        let path = |name: &str| pki.path(name).display().to_string();
        let lines = format!(
            "HostKey {}\nHostCertificate {}\nAuthorizedKeysFile {}\n{more}",
            path("host"),
            path("host-cert.pub"),
            path("alice.pub")
        );
        Self::Stock(Sshd::start(pki.path("").as_path(), &lines), pki)
    }

    pub fn pki(&self) -> &Pki {
        match self {
            Self::Node(node) => &node.pki,
            Self::Stock(_, pki) => pki,
        }
    }

    /// `ssh` with these options, running `line`; killed when dropped.
    pub fn ssh(&self, options: &[&str], line: &str) -> Command {
        let mut ssh = self.shell(options);
        ssh.arg(line);
        ssh
    }

    /// `ssh` with these options and a login shell; killed when dropped.
    pub fn shell(&self, options: &[&str]) -> Command {
        let address = match self {
            Self::Node(node) => node.address,
            Self::Stock(sshd, _) => sshd.address(),
        };
        let mut ssh = self.pki().client("ssh", address, "alice");
        ssh.args(options).arg(NODENAME);
        let mut ssh = Command::from(ssh);
        ssh.kill_on_drop(true).stdout(Stdio::piped());
        ssh
    }
}

/// What `work` gives, which hangs when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("{what} hangs: not done in {limit:?}"))
}

/// A connection whose first process does not read its input until it is told to.
pub struct Deaf<'a> {
    server: &'a Server,
    process: Child,
    offered: usize,
    /// How much of it left the client's standard input.
    taken: Arc<AtomicUsize>,
    go: PathBuf,
    control: String,
}

impl<'a> Deaf<'a> {
    /// `name` tells several apart.
    pub async fn start(server: &'a Server, name: &str, offered: usize) -> Self {
        let path = |what: &str| server.pki().path(&format!("{what}-{name}"));
        let (socket, go) = (path("control"), path("go"));
        let control = format!("ControlPath={}", socket.display());
        let line = format!("until [ -e {} ]; do sleep 0.05; done; wc -c", go.display());
        let mut ssh = server.ssh(&["-o", "ControlMaster=yes", "-o", &control], &line);
        let mut process = ssh.stdin(Stdio::piped()).spawn().expect("runs");
        let taken = flood(process.stdin.take().expect("a pipe"), offered);
        until("the master", || socket.exists()).await;
        Self { server, process, offered, taken, go, control }
    }

    /// What a process on the same connection says, which is given this to read.
    pub async fn beside(&self, line: &str, input: &[u8]) -> Vec<u8> {
        let mut ssh = self.server.ssh(&["-o", &self.control, "-o", "ControlMaster=no"], line);
        let child = ssh.stdin(Stdio::piped()).spawn().expect("runs");
        let (status, said) = within(DEADLINE, line, all_of(child, input.to_vec())).await;
        assert_eq!(status, Some(0), "{line}");
        said
    }

    /// Returns when a whole session beside it moves nothing of the flood.
    pub async fn comes_to_rest(&self) {
        let mut before = 0;
        loop {
            assert_eq!(text(&self.beside("echo beside", b"").await), "beside\n");
            let now = self.taken.load(Ordering::Acquire);
            if now > 0 && now == before {
                break;
            }
            before = now;
        }
        assert!(before < self.offered, "all of the input went somewhere, though nobody read it");
    }

    pub async fn reads_in_the_end(self) {
        std::fs::write(self.go, "").expect("written");
        let counted = within(DEADLINE, "the first process", self.process.wait_with_output()).await;
        assert_eq!(text(&counted.expect("ends").stdout).trim(), self.offered.to_string());
    }
}

/// Writes zeros on a task of its own; how many were taken so far.
fn flood(mut pipe: ChildStdin, bytes: usize) -> Arc<AtomicUsize> {
    const PIECE: &[u8] = &[0; 32 << 10];
    let taken = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while count.load(Ordering::Acquire) < bytes && pipe.write_all(PIECE).await.is_ok() {
            count.fetch_add(PIECE.len(), Ordering::AcqRel);
        }
    });
    taken
}

/// Feeds a process and reads what it says, at the same time; its exit code and its words.
pub async fn all_of(mut child: Child, input: Vec<u8>) -> (Option<i32>, Vec<u8>) {
    let mut pipe = child.stdin.take().expect("a pipe");
    // A process is free not to read.
    tokio::spawn(async move { pipe.write_all(&input).await.ok() });
    let mut said = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut said).await.expect("read");
    (child.wait().await.expect("ends").code(), said)
}
