//! OpenSSH's agent, and one that only writes down what it is asked.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::{Fixture, Pki, text};

/// `ssh-agent` for one test.
pub struct Agent {
    child: Child,
    pub socket: PathBuf,
    key: PathBuf,
    known_hosts: PathBuf,
}

impl Agent {
    pub fn start(pki: &Pki) -> Self {
        let socket = pki.path("agent");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let child = agent.spawn().expect("ssh-agent runs");
        pki.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "agent-key"]);
        let agent = Self { child, socket, key: pki.path("agent-key"), known_hosts: pki.path("known_hosts") };
        for _ in 0..1000 {
            if agent.socket.exists() {
                return agent;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("ssh-agent does not listen");
    }

    /// Adds a key, with what constrains it; its fingerprint.
    pub fn add(&self, constraints: &[&str]) -> String {
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg("-H").arg(&self.known_hosts).args(constraints).arg(&self.key);
        let output = self.run(add);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut show = Command::new("ssh-keygen");
        show.arg("-lf").arg(&self.key);
        let shown = text(&self.run(show).stdout);
        shown.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// Runs a program that finds this agent.
    pub fn run(&self, mut command: Command) -> Output {
        command.env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null()).output().expect("runs")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ssh` as `name` that forwards the agent at this socket. ssh forwards only one that it could use itself.
pub fn forwarding(node: &Fixture, name: &str, socket: &Path) -> Command {
    let plain = node.ssh(name);
    let mut ssh = Command::new(plain.get_program());
    let agent = format!("IdentityAgent={}", socket.display());
    ssh.args(
        plain
            .get_args()
            .map(|argument| if argument == "IdentityAgent=none" { agent.as_ref() } else { argument }),
    );
    ssh.arg("-A").stdin(Stdio::null());
    ssh
}

/// What an agent was asked: whole messages, without their lengths.
pub type Asked = Arc<Mutex<Vec<Vec<u8>>>>;

/// An agent that says no to everything and remembers it.
pub fn recording(socket: &Path) -> Asked {
    let listener = UnixListener::bind(socket).expect("bound");
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u32().await {
                    let mut message = vec![0; usize::try_from(length).expect("a length")];
                    if stream.read_exact(&mut message).await.is_err() {
                        return;
                    }
                    seen.lock().expect("a lock").push(message);
                    // SSH_AGENT_FAILURE
                    let _ = stream.write_all(&[0, 0, 0, 1, 5]).await;
                }
            });
        }
    });
    asked
}
