//! Stock `sshd` on a port of the loopback interface: the measure of what a server of ours must do.

use crate::inetd::Inetd;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where every distribution has it.
const SSHD: &str = "/usr/sbin/sshd";

/// OpenSSH's server, an `sshd -i` for each connection; ends when dropped.
#[derive(Debug)]
pub struct Sshd {
    config: PathBuf,
    inetd: Inetd,
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
        let inetd = {
            let config = config.clone();
            Inetd::start(move || {
                let mut sshd = Command::new(SSHD);
                sshd.arg("-i").arg("-f").arg(&config).arg("-E").arg(config.with_extension("log"));
                sshd
            })
        };
        Self { config, inetd }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.inetd.address()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- sshd\n{}", self.log());
        }
    }
}
