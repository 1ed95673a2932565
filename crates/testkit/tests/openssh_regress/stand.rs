//! A node in the place of OpenSSH's sshd. The scripts start `ssh`, `sshd`, `scp` and `sftp-server` by names that can be
//! overridden; here each is a few lines of shell.
//!
//! - `ssh` is the real one with the bot's identity. Addresses and ports stay the script's, so that a connection to a
//!   forwarded port goes through the forward.
//! - `sshd` as a daemon is a pid file and nothing else: the scripts' port is the node's. `sshd -i` is a connection to it.
//! - `sftp-server`, and `scp` when it is told to be the remote side, are sessions on the node: many scripts start these
//!   locally, and then no byte would reach a server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::cluster::CLUSTER;
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, Inetd, Layout};

use super::run::SCRIPTS;

/// How the node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Its own port.
    Straight,
    /// `tbot ssh-proxy-command`, which is also what answers on the scripts' port.
    Proxied,
}

/// What a node offers, by OpenSSH's names: a script that asks `ssh -Q` for everything gets what both know.
const OFFERED: [&str; 8] = [
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
];

/// Everything that a script needs to be run.
pub struct Stand {
    cluster: Cluster,
    port: u16,
    _inetd: Option<Inetd>,
}

impl Stand {
    /// Starts a cluster, and writes the programs.
    pub fn build(route: Route, login: &str) -> Self {
        let cluster = Cluster::start(Layout::OneProcess);
        cluster.create(&format!(
            "kind: role\nversion: v6\nmetadata:\n  name: regress\nspec:\n  options:\n    forward_agent: true\n  \
             allow:\n    logins: [{login}]\n    node_labels: {{env: test}}\n"
        ));
        let bot = cluster.bot("regress", &["regress"]);
        bot.oneshot().ok();
        let endpoint = cluster.endpoint("node");
        let port = endpoint.rsplit_once(':').expect("host:port").1.parse().expect("a port");
        let stand = match route {
            Route::Straight => Self { cluster, port, _inetd: None },
            Route::Proxied => {
                let proxied = proxy_command(&cluster, &bot, login);
                let inetd = Inetd::start(move || command_of(&proxied));
                Self { cluster, port: inetd.address().port(), _inetd: Some(inetd) }
            }
        };
        let connect = match route {
            Route::Straight => format!("{SCRIPTS}/netcat -N 127.0.0.1 {port}"),
            Route::Proxied => proxy_command(&stand.cluster, &bot, login).join(" "),
        };
        stand.write_programs(&bot, login, &connect);
        stand.share_a_connection(login);
        stand
    }

    /// The port at which scripts connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A scratch directory.
    pub fn directory(&self) -> &Path {
        self.cluster.path()
    }

    /// A program to be named to the scripts.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory().join(format!("as-{name}"))
    }

    fn write_programs(&self, bot: &Bot, login: &str, connect: &str) {
        std::fs::write(self.directory().join("offered"), OFFERED.join("\n")).expect("written");
        let ssh = self.program("ssh");
        let node = format!(
            "{} -S {} -F /dev/null -o BatchMode=yes -o LogLevel=ERROR -p {} {login}@127.0.0.1",
            ssh.display(),
            self.master().display(),
            self.port
        );
        self.write("ssh", &self.ssh(bot));
        self.write("sshd", &sshd(connect));
        self.write("scp", &scp(&node));
        self.write("sftp-server", &format!("exec {node} -s sftp\n"));
    }

    /// What stands for local programs would log in for each of hundreds of commands: one connection has them all.
    fn share_a_connection(&self, login: &str) {
        let mut master = command(self.program("ssh"));
        master.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-p", &self.port.to_string()]);
        master.arg("-S").arg(self.master()).args(["-M", "-N", "-f", &format!("{login}@127.0.0.1")]);
        let status = master.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("a shell").success(), "{master:?}");
    }

    fn master(&self) -> PathBuf {
        self.directory().join("master")
    }

    fn ssh(&self, bot: &Bot) -> String {
        format!(
            "asked=\n\
             for argument; do\n\
             case $asked:$argument in\n\
             yes:kex | yes:cipher | yes:cipher-auth) exec /usr/bin/ssh -Q $argument | grep -Fx -f {offered}; exit ;;\n\
             yes:mac) [ -n \"$NO_MACS\" ] || /usr/bin/ssh -Q mac | grep -Fx -f {offered}; exit ;;\n\
             yes:*) exec /usr/bin/ssh -Q $argument ;;\n\
             :-Q) asked=yes ;;\n\
             esac\n\
             done\n\
             exec /usr/bin/ssh -o HostKeyAlias={node} -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null \
             -o IdentityFile={key} -o CertificateFile={certificate} -o IdentitiesOnly=yes \"$@\"\n",
            offered = self.directory().join("offered").display(),
            node = Bot::host("my-host"),
            known = bot.file("known_hosts").display(),
            key = bot.file("key").display(),
            certificate = bot.file("key-cert.pub").display(),
        )
    }

    fn write(&self, name: &str, lines: &str) {
        let path = self.program(name);
        std::fs::write(&path, format!("#!/bin/sh\n{lines}")).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
    }
}

fn proxy_command(cluster: &Cluster, bot: &Bot, login: &str) -> Vec<String> {
    vec![
        ours("tbot").display().to_string(),
        "ssh-proxy-command".to_owned(),
        format!("--destination-dir={}", bot.output().display()),
        format!("--proxy-server={}", cluster.endpoint("proxy")),
        format!("--cluster={CLUSTER}"),
        format!("--user={login}"),
        "--port=3022".to_owned(),
        format!("--host={}", Bot::host("my-host")),
    ]
}

fn command_of(words: &[String]) -> Command {
    let (program, arguments) = words.split_first().expect("a program");
    let mut command = command(program);
    command.args(arguments);
    command
}

/// Checks of a configuration are sshd's own business; for the rest see the module.
fn sshd(connect: &str) -> String {
    format!(
        "case \" $* \" in\n\
         *' -t '* | *' -T '*) exec /usr/sbin/sshd \"$@\" ;;\n\
         *' -i '*) exec {connect} ;;\n\
         esac\n\
         while [ \"$1\" != -f ]; do shift; done\n\
         pidfile=$(awk '$1 == \"PidFile\" {{ print $2 }}' \"$2\")\n\
         (trap 'kill $waiting; rm -f \"$pidfile\"; exit' TERM\n\
         sleep 3600 & waiting=$!\n\
         sh -c 'echo $PPID' >\"$pidfile\"\n\
         wait) </dev/null >/dev/null 2>&1 &\n"
    )
}

fn scp(node: &str) -> String {
    format!(
        "case \" $* \" in\n*' -t '* | *' -f '*) exec {node} scp \"$@\" ;;\nesac\nexec /usr/bin/scp \"$@\"\n"
    )
}
