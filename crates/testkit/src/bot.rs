//! A bot's agent and the tools that use its credentials.

use crate::cluster::CLUSTER;
use crate::process::{Outcome, Process, run};
use crate::programs::{command, ours};
use crate::wait::until;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A token for a bot that needs none any more: it has joined.
pub const SPENT: &str = "0123456789abcdef0123456789abcdef";

/// One agent: its configuration, its storage, its output.
pub struct Bot {
    directory: PathBuf,
    proxy: String,
}

impl Bot {
    /// Writes the configuration of an agent that joins with `token`.
    pub fn new(scratch: &Path, name: &str, token: &str, proxy: &str, pin: &str) -> Self {
        let directory = scratch.join(format!("bot-{name}"));
        std::fs::create_dir(&directory).expect("a new directory");
        let bot = Self { directory, proxy: proxy.to_owned() };
        bot.configure(token, pin, "");
        bot
    }

    /// Rewrites the configuration, with more top-level lines.
    pub fn configure(&self, token: &str, pin: &str, more: &str) {
        let onboarding = format!("\n  join_method: token\n  token: {token}\n  ca_pins: [\"{pin}\"]");
        self.write(&onboarding, more);
    }

    /// The same with these keys of `onboarding`, as they stand in braces.
    pub fn configure_joining(&self, joining: &str, pin: &str, more: &str) {
        self.write(&format!(" {{{joining}, ca_pins: [\"{pin}\"]}}"), more);
    }

    fn write(&self, onboarding: &str, more: &str) {
        let config = format!(
            "version: v2\nproxy_server: {proxy}\nonboarding:{onboarding}\n\
             storage:\n  type: directory\n  path: {storage}\noutputs:\n- type: identity\n  destination:\n    \
             type: directory\n    path: {output}\n{more}",
            proxy = self.proxy,
            storage = self.storage().display(),
            output = self.output().display(),
        );
        std::fs::write(self.config(), config).expect("written");
        std::fs::set_permissions(self.config(), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("ours");
    }

    /// What belongs to this bot.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `tbot.yaml`.
    pub fn config(&self) -> PathBuf {
        self.directory.join("tbot.yaml")
    }

    /// Where the agent keeps its own identity.
    pub fn storage(&self) -> PathBuf {
        self.directory.join("storage")
    }

    /// Where it writes for others.
    pub fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    /// A file of the output.
    pub fn file(&self, name: &str) -> PathBuf {
        self.output().join(name)
    }

    /// The command `tbot start -c ... --oneshot`.
    pub fn oneshot_command(&self) -> Command {
        let mut tbot = command(ours("tbot"));
        tbot.args(["start", "-c"]).arg(self.config()).arg("--oneshot");
        tbot
    }

    /// Joins or renews, writes everything once, ends.
    pub fn oneshot(&self) -> Outcome {
        run(&mut self.oneshot_command())
    }

    /// Starts the agent and waits for its files.
    pub fn start(&self) -> Process {
        let mut tbot = command(ours("tbot"));
        let mut process =
            Process::start("tbot", &self.directory, tbot.args(["start", "-d", "-c"]).arg(self.config()));
        until("tbot to write its files", || {
            process.assert_running();
            self.file("ssh_config").exists().then_some(())
        });
        process
    }

    /// `ssh -F ssh_config <arguments>`.
    pub fn ssh(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.openssh("ssh", arguments))
    }

    /// An OpenSSH program with `-F ssh_config`, without questions.
    pub fn openssh(&self, program: &str, arguments: &[&str]) -> Command {
        let mut ssh = command(Path::new("/usr/bin").join(program));
        ssh.arg("-F").arg(self.file("ssh_config")).args(["-o", "BatchMode=yes"]).args(arguments);
        ssh
    }

    /// Real `ssh`, by the files of the output and nothing else, straight to a port of this machine where a server is known as
    /// `name` of the cluster.
    pub fn straight(&self, name: &str, port: u16, login: &str) -> Command {
        let mut ssh = command("/usr/bin/ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.file("known_hosts").display()))
            .args(["-o", &format!("HostKeyAlias={}", Self::host(name)), "-p", &port.to_string(), "-i"])
            .arg(self.file("key"))
            .arg(format!("{login}@127.0.0.1"));
        ssh
    }

    /// `tsh -i identity --proxy ... <arguments>`.
    pub fn tsh(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.tsh_command(arguments))
    }

    /// The same, to be run.
    pub fn tsh_command(&self, arguments: &[&str]) -> Command {
        let mut tsh = command(ours("tsh"));
        tsh.arg("-i").arg(self.file("identity")).args(["--proxy", &self.proxy]).args(arguments);
        tsh
    }

    /// OpenSSH's own jump over the proxy, with nothing of ours; `<login>@<host>.<cluster>` and what to run there.
    pub fn jump(&self, target: &str, arguments: &[&str]) -> Command {
        let config = self.directory().join("jump_config");
        let text = format!(
            "Host *\n  UserKnownHostsFile {}\n  IdentityFile {}\n  CertificateFile {}\n  IdentitiesOnly yes\n  BatchMode yes\n",
            self.file("known_hosts").display(),
            self.file("key").display(),
            self.file("key-cert.pub").display()
        );
        std::fs::write(&config, text).expect("written");
        let login = target.split_once('@').map_or("nobody", |(login, _)| login);
        let mut ssh = command("/usr/bin/ssh");
        ssh.arg("-F").arg(config).args(["-J", &format!("{login}@{}", self.proxy), target]).args(arguments);
        ssh
    }

    /// `<host>.<cluster>`, as OpenSSH must be told.
    pub fn host(name: &str) -> String {
        format!("{name}.{CLUSTER}")
    }
}
