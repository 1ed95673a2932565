//! A cluster, a bot that may log in, and a directory for what goes over the wire.

use std::path::PathBuf;
use testkit::programs::command;
use testkit::{Bot, Cluster, Layout, run};

/// Where a client's story takes place.
pub struct Story {
    /// One process with the node `my-host`.
    pub cluster: Cluster,
    /// With its files written.
    pub bot: Bot,
    /// Whom the bot may log in as: whoever runs the tests.
    pub login: String,
}

impl Story {
    /// Starts it.
    pub fn start() -> Self {
        let cluster = Cluster::start(Layout::OneProcess);
        let login = run(command("/usr/bin/id").arg("-un")).ok().trim().to_owned();
        cluster.role("daily", &format!("[{login}]"), "{env: test}");
        let bot = cluster.bot("daily", &["daily"]);
        bot.oneshot().ok();
        Self { cluster, bot, login }
    }

    /// `login@host`.
    pub fn target(&self) -> String {
        format!("{}@{}", self.login, Bot::host("my-host"))
    }

    /// The same host with a login that no role allows.
    pub fn forbidden(&self) -> String {
        format!("daemon@{}", Bot::host("my-host"))
    }

    /// What programs take that want ssh as one line.
    pub fn ssh_line(&self) -> String {
        format!("ssh -F {} -o BatchMode=yes", self.bot.file("ssh_config").display())
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// What a node says of a login that the certificate has not.
pub const NO_SUCH_LOGIN: &str = "login_not_in_certificate";
