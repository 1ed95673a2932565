//! What tests of forwards have in common: somebody to talk to, somebody who may, and a session that stays.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use identity::Permits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::{Fixture, NODENAME, user};

/// Says everything back. Counts who came.
#[derive(Clone)]
pub struct Echo {
    pub address: SocketAddr,
    came: Arc<AtomicUsize>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(echo(stream));
            }
        });
        Self { address, came }
    }

    /// The same at a path.
    pub fn start_at(path: &Path) -> Arc<AtomicUsize> {
        let listener = UnixListener::bind(path).expect("bound");
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(echo(stream));
            }
        });
        came
    }

    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

async fn echo(stream: impl AsyncRead + AsyncWriteExt + Unpin) {
    let (mut from, mut to) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Sends, ends its half, and wants everything back and an end.
pub async fn assert_echo(mut stream: impl AsyncRead + AsyncWriteExt + Unpin) {
    stream.write_all(b"to and fro").await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut back = String::new();
    stream.read_to_string(&mut back).await.expect("came back");
    assert_eq!(back, "to and fro");
}

/// A certificate that permits everything, in files of this name.
pub fn certify_all(node: &Fixture, name: &str) {
    let mut full = user("alice");
    full.permits = Permits { pty: true, port_forwarding: true, agent_forwarding: true, x11_forwarding: true };
    node.pki.certify(name, full, |_| {});
}

/// A session that says something and then waits for the end of its input.
pub struct Waiting {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Waiting {
    /// Runs `command` and waits after it.
    pub fn start(mut ssh: Command, command: &str) -> Self {
        ssh.args([NODENAME, &format!("{command}; cat > /dev/null")]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { input: child.stdin.take(), child, output }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    pub fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().expect("ends").success());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
