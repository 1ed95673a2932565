//! Keeps the peer from rotting: each engine serves and connects, with the other and with stock `ssh`.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::peer::{Link, Wish};
use super::pki::{self, Pki};
use super::work::{self, Direction, Load};
use super::{Engine, ours, russh_engine, sessions};

const BYTES: u64 = 3_000_001;

struct Bench {
    directory: TempDir,
    pki: Arc<Pki>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        pki::create(directory.path(), "root").expect("created");
        let pki = Arc::new(Pki::read(directory.path()).expect("read"));
        Self { directory, pki }
    }

    async fn server(&self, engine: Engine) -> Wish {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = listener.local_addr().expect("an address");
        let pki = Arc::clone(&self.pki);
        tokio::spawn(async move {
            match engine {
                Engine::Ours => ours::serve(listener, pki).await,
                Engine::Russh => russh_engine::serve(listener, pki).await,
            }
        });
        Wish {
            server,
            name: pki::HOST.to_owned(),
            pki: Arc::clone(&self.pki),
            key_exchange: "curve25519-sha256".to_owned(),
            cipher: "aes128-gcm@openssh.com".to_owned(),
        }
    }

    async fn ssh(&self, server: SocketAddr, command: &str) -> String {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-l", "root"])
            .args(["-o", "HostKeyAlias=localhost", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .arg(format!("-oUserKnownHostsFile={}", path("known_hosts")))
            .arg(format!("-oCertificateFile={}", path("user-cert.pub")))
            .args(["-i", &path("user"), "-p", &server.port().to_string(), "127.0.0.1", command])
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || ssh.output().expect("runs")).await.expect("joins");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

async fn everything_with<L: Link>(wish: &Wish) {
    work::connect::<L>(wish, 3, 2, None).await.expect("connects");
    work::connect::<L>(wish, 3, 2, Some("zeros 5")).await.expect("connects and runs");
    work::connect::<L>(wish, 1, 1, Some("true")).await.expect_err("a command that says nothing");
    sessions::on_one_connection::<L>(wish, "zeros 5", 7, 3).await.expect("runs");
    sessions::hold::<L>(wish, "zeros 1125899906842624", 2).await.expect("stays");
    sessions::hold::<L>(wish, "true", 1).await.err().expect("does not stay");
    let trips = sessions::keystrokes::<L>(wish, "echo", 5, Duration::ZERO).await.expect("echoes");
    assert!(trips.percentile(50) <= trips.percentile(99));
    let down = work::run::<L>(wish, &format!("zeros {BYTES}"), 0).await.expect("runs");
    assert_eq!(down.received, BYTES);
    let up = work::run::<L>(wish, "count", BYTES).await.expect("runs");
    assert_eq!(up.said, BYTES.to_string());
    let link: L = work::idle(wish, Some("zeros 1000")).await.expect("falls idle");
    link.close().await;
    for (direction, bulk) in [(Direction::Down, "zeros 1125899906842624"), (Direction::Up, "count")] {
        let load = Load { beside: 1, others: 1, direction, bulk: bulk.to_owned() };
        let trips = work::echo::<L>(wish, "echo", 5, &load).await.expect("echoes");
        assert!(trips.percentile(50) <= trips.percentile(99));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_engine_serves_each() {
    let bench = Bench::new();
    for engine in [Engine::Ours, Engine::Russh] {
        let wish = bench.server(engine).await;
        everything_with::<ours::Client>(&wish).await;
        everything_with::<russh_engine::Client>(&wish).await;
        assert_eq!(bench.ssh(wish.server, "zeros 100000").await.len(), 100_000);
        assert_eq!(bench.ssh(wish.server, "count").await, "0\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_are_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    for engine in [Engine::Ours, Engine::Russh] {
        let server = bench.server(engine).await;
        // Trusts the host, but comes with what another authority signed.
        let mut pki = Pki::read(bench.directory.path()).expect("read");
        pki.user = other.pki.user.clone();
        let wish = Wish { pki: Arc::new(pki), ..server.clone() };
        assert!(ours::Client::connect(&wish).await.is_err());
        assert!(russh_engine::Client::connect(&wish).await.is_err());
        // And the other way round.
        let wish = Wish { pki: Arc::clone(&other.pki), ..server };
        assert!(ours::Client::connect(&wish).await.is_err());
        assert!(russh_engine::Client::connect(&wish).await.is_err());
    }
}

#[test]
fn engines_say_what_they_know() {
    for known in [ours::knows, russh_engine::knows] {
        known("curve25519-sha256").expect("known");
        assert!(known("diffie-hellman-group0").is_err());
    }
}
