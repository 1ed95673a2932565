//! The command line of `tbot`.

use crate::agent;
use crate::config::{self, Config, StartFlags};
use crate::health::Health;
use crate::keypair::Keypair;
use crate::proxy_command::{self, ProxyCommandFlags};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// The machine agent of Postern: joins once, keeps short-lived credentials fresh, writes them to files.
#[derive(Debug, Parser)]
#[command(name = "tbot", version, disable_version_flag = true)]
pub struct Tbot {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Args)]
struct Global {
    /// Log more
    #[arg(short, long, global = true, env = "TBOT_DEBUG")]
    debug: bool,
    /// The configuration file; without it, flags say everything
    #[arg(short, long, global = true, value_name = "FILE", env = "TBOT_CONFIG_PATH")]
    config: Option<PathBuf>,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join, renew and write credentials until told to stop
    Start(StartFlags),
    /// Write a configuration file from flags
    Configure(ConfigureFlags),
    /// The key that join method bound_keypair keeps
    #[command(subcommand)]
    Keypair(Keypair),
    /// Connect standard input and output to a host; for ProxyCommand in ssh_config
    #[command(hide = true)]
    #[command(name = "ssh-proxy-command")]
    ProxySsh(ProxyCommandFlags),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
struct ConfigureFlags {
    #[command(flatten)]
    start: StartFlags,
    /// Where to write it; standard output unless set
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    let tbot = Tbot::parse();
    harden();
    match tbot.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Keys must not end up in a core file.
fn harden() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Refused only where it is impossible; then the process runs as before.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

impl Tbot {
    fn run(self) -> Result<(), String> {
        match self.command {
            Command::Version => crate::console::print(&format!("tbot {}\n", env!("CARGO_PKG_VERSION"))),
            Command::Configure(flags) => crate::configure::run(&flags.start, flags.output.as_deref()),
            Command::Keypair(command) => command.run(),
            Command::ProxySsh(flags) => {
                let runtime = runtime()?;
                let ended = runtime.block_on(proxy_command::run(flags));
                // A read from standard input may be under way on a thread of its own, and would be waited for.
                runtime.shutdown_background();
                ended
            }
            Command::Start(flags) => start(&self.global, &flags),
        }
    }
}

fn start(global: &Global, flags: &StartFlags) -> Result<(), String> {
    let (config, replaced) = load(global.config.as_deref(), flags)?;
    crate::console::log(global.log_format == LogFormat::Json, global.debug || config.debug);
    for key in replaced {
        tracing::warn!(key, "a flag or an environment variable overrides the configuration file");
    }
    if config.renewal_interval > config.certificate_ttl && !config.oneshot {
        tracing::warn!(
            "renewal_interval is longer than certificate_ttl: credentials will expire between renewals"
        );
    }
    let runtime = runtime()?;
    let ended = match config.oneshot {
        true => runtime.block_on(agent::oneshot(config)),
        false => runtime.block_on(agent::run(config, Health::default())),
    };
    ended.map_err(|error| error.to_string())
}

fn load(path: Option<&std::path::Path>, flags: &StartFlags) -> Result<(Config, Vec<&'static str>), String> {
    let Some(path) = path else {
        return config::without_file(flags).map_err(|mistakes| mistakes.to_string());
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read {}: {error}; tbot configure writes a configuration file", path.display())
    })?;
    config::load(&path.display().to_string(), &text, flags).map_err(|mistakes| mistakes.to_string())
}

/// One thread: the agent waits most of the time, and a proxy command carries one connection.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}
