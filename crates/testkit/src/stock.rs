//! Stock `sshd` as a package leaves it, which listens by itself and is reloaded: what an agent looks after.

use crate::bot::Bot;
use crate::process::{Process, run};
use crate::programs::command;
use crate::wait::until;
use std::path::{Path, PathBuf};

/// A server of the system with a configuration of its own, in `<scratch>/etc-ssh`.
pub struct Stock {
    directory: PathBuf,
    port: u16,
}

impl Stock {
    /// Its configuration and its own key; nothing runs yet.
    pub fn prepare(scratch: &Path) -> Self {
        std::fs::create_dir_all("/run/sshd").ok();
        let directory = scratch.join("etc-ssh");
        std::fs::create_dir_all(directory.join("sshd_config.d")).expect("made");
        let key = directory.join("own_key");
        run(command("/usr/bin/ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&key)).ok();
        // sshd takes no port that the system chooses.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let at = |name: &str| directory.join(name).display().to_string();
        let text = format!(
            "Include {}/*.conf\nListenAddress 127.0.0.1:{port}\nPidFile {}\nHostKey {}\nUsePAM no\nUseDNS no\n\
             PermitRootLogin yes\nAuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            at("sshd_config.d"),
            at("sshd.pid"),
            at("own_key")
        );
        std::fs::write(directory.join("sshd_config"), text).expect("written");
        Self { directory, port }
    }

    /// The same, and runs it.
    pub fn start(scratch: &Path) -> (Self, Process) {
        let stock = Self::prepare(scratch);
        let mut sshd = command("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(stock.config());
        let mut process = Process::start("sshd", scratch, &mut sshd);
        stock.answers(&mut process);
        (stock, process)
    }

    /// Waits until it shows the key that it always had.
    pub fn answers(&self, process: &mut Process) {
        until("sshd to answer with its own key", || {
            process.assert_running();
            self.shows_own_key().then_some(())
        });
    }

    /// Whether it shows the key that it always had.
    pub fn shows_own_key(&self) -> bool {
        let own = std::fs::read_to_string(self.directory.join("own_key.pub")).expect("a key");
        let own = own.split_whitespace().nth(1).expect("its blob").to_owned();
        let port = self.port.to_string();
        let scanned = run(command("/usr/bin/ssh-keyscan").args(["-t", "ed25519", "-p", &port, "127.0.0.1"]));
        scanned.stdout.contains(&own)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What an agent writes for it.
    pub fn snippet(&self) -> PathBuf {
        self.directory.join("sshd_config.d/10-postern.conf")
    }

    /// What it runs with.
    pub fn config(&self) -> PathBuf {
        self.directory.join("sshd_config")
    }

    /// The service in the configuration of an agent whose own files are in `directory`, with more lines below `sshd`.
    pub fn service(&self, directory: &Path, more: &str) -> String {
        format!(
            "services:\n- type: sshd\n  name: sshd\n  destination: {}\n  principals: [127.0.0.1]\n  sshd:\n    hostname: \
             stock\n    address: 127.0.0.1:{}\n    labels: {{env: test}}\n    config: {}\n    snippet: {}\n    reload: \
             {{pid_file: {}}}\n{more}",
            directory.join("host").display(),
            self.port,
            self.config().display(),
            self.snippet().display(),
            self.directory.join("sshd.pid").display()
        )
    }

    /// Whether root is let in by a bot's files, to this server under the name `stock` of the cluster.
    pub fn lets_in(&self, bot: &Bot) -> bool {
        let outcome = run(bot.straight("stock", self.port, "root").arg("echo in"));
        outcome.status.success() && outcome.stdout == "in\n"
    }

    /// Whether root is turned away.
    pub fn refuses(&self, bot: &Bot) -> bool {
        run(bot.straight("stock", self.port, "root").arg("echo in")).stderr.contains("Permission denied")
    }
}
