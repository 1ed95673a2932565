//! Stock `sshd` on a port of the loopback interface: the measure of what a server of ours must do.
//!
//! Each connection gets an `sshd -i` of its own, so the port is one that the system chose and nobody can take in between.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Where every distribution has it.
const SSHD: &str = "/usr/sbin/sshd";

/// OpenSSH's server; ends when dropped.
#[derive(Debug)]
pub struct Sshd {
    address: SocketAddr,
    config: PathBuf,
    stop: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<Child>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Sshd {
    /// Serves with these lines of `sshd_config`, which name the host key at least. Its configuration and its log are kept
    /// in `directory`.
    pub fn start(directory: &Path, lines: &str) -> Self {
        // Where sshd locks its unprivileged half up; it does not start without. Only root may make it, and only root's
        // needs it.
        std::fs::create_dir_all("/run/sshd").ok();
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing; scripts/test-tools installs it");
        let config = directory.join("sshd_config");
        let fixed =
            "PidFile none\nUsePAM no\nStrictModes no\nUseDNS no\nPermitRootLogin yes\nMaxStartups 1000\n";
        std::fs::write(&config, format!("{lines}\n{fixed}")).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, connections) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Child>>>::default());
        let accepting = {
            let (stop, connections, config) = (Arc::clone(&stop), Arc::clone(&connections), config.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let child = serve(stream.expect("a connection"), &config);
                    connections.lock().expect("not poisoned").push(child);
                }
            })
        };
        Self { address, config, stop, connections, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

fn serve(stream: TcpStream, config: &Path) -> Child {
    let output = stream.try_clone().expect("a second handle");
    let mut sshd = Command::new(SSHD);
    sshd.arg("-i").arg("-f").arg(config).arg("-E").arg(config.with_extension("log"));
    sshd.stdin(Stdio::from(OwnedFd::from(stream))).stdout(Stdio::from(OwnedFd::from(output)));
    sshd.stderr(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{sshd:?}: {error}"))
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // So that it looks.
        TcpStream::connect(self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- sshd\n{}", self.log());
        }
        for child in self.connections.lock().expect("not poisoned").iter_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
