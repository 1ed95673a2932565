//! `tsh`: sessions, files and byte streams on the hosts of a cluster, by the identity in a file.
//!
//! One module for each subcommand; what they share is who calls ([`caller`]), whom to reach ([`target`]) and how
//! ([`connect`]). Decides nothing about access: the proxy, the node and auth do, and this prints what they say.

mod arguments;
pub mod caller;
pub mod completion;
pub mod config;
pub mod connect;
pub mod exit;
pub mod failure;
pub mod ls;
pub mod man;
pub mod proxy_address;
pub mod proxy_ssh;
pub mod scp;
mod sftp;
pub mod ssh;
mod standard;
pub mod status;
pub mod target;
pub mod version;

use crate::Failure;
use crate::console::Console;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Connects to the hosts of a cluster with short-lived certificates
#[derive(Debug, Parser)]
#[command(name = "tsh", disable_help_subcommand = true)]
#[command(after_help = "The word `ssh` may be left out: tsh -i FILE --proxy HOST login@host [command]")]
pub struct Tsh {
    /// What every subcommand knows.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand, before or after its name.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The identity file, as tbot writes it
    #[arg(short, long, env = "TELEPORT_IDENTITY_FILE", global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The proxy; without a port 3080 is tried, then 443
    #[arg(long, env = "TELEPORT_PROXY", global = true, value_name = "HOST[:PORT]")]
    pub proxy: Option<String>,
    /// The login on the host
    #[arg(short, long, env = "TELEPORT_LOGIN", global = true)]
    pub login: Option<String>,
    /// The cluster of the host; the identity's own unless set
    #[arg(short, long, env = "TELEPORT_CLUSTER", global = true)]
    pub cluster: Option<String>,
    /// Say on standard error what is being done
    #[arg(short, long, global = true)]
    pub debug: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command or a shell on a host
    Ssh(ssh::SshArguments),
    /// Copy files to or from a host
    Scp(scp::ScpArguments),
    /// List the hosts that you may reach
    Ls(ls::LsArguments),
    /// Carry bytes for other programs
    Proxy(proxy_ssh::ProxyArguments),
    /// Print a configuration for OpenSSH's ssh
    Config,
    /// Show who you are and until when
    Status(status::StatusArguments),
    /// Print the version
    Version,
    /// Print a completion script
    Completion(completion::CompletionArguments),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// What the program does, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let parsed = Tsh::parse_from(arguments::with_subcommand(std::env::args_os().collect()));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Console::of_process().fail(&Failure::new(format!("cannot start: {error}"))).into();
        }
    };
    let proxy = parsed.global.proxy.clone();
    let is_session = matches!(parsed.command, Command::Ssh(_));
    let outcome = runtime.block_on(run(parsed));
    // A thread that waits for the terminal must not keep the program from ending.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            let mut failure = failure.assumed(proxy.as_deref(), &proxy_address::PORTS);
            if is_session {
                failure = failure::in_session(failure);
            }
            Console::of_process().fail(&failure).into()
        }
    }
}

async fn run(tsh: Tsh) -> Result<ExitCode, Failure> {
    let global = tsh.global;
    match tsh.command {
        Command::Ssh(arguments) => ssh::run(&global, arguments).await,
        Command::Scp(arguments) => scp::run(&global, arguments).await,
        Command::Ls(arguments) => ls::run(&global, arguments).await,
        Command::Proxy(arguments) => proxy_ssh::run(&global, arguments).await,
        Command::Config => config::run(&global).await,
        Command::Status(arguments) => status::run(&global, arguments),
        Command::Version => version::run(),
        Command::Completion(arguments) => completion::run(arguments),
        Command::Man => man::run(),
    }
}

impl Global {
    /// Tells what is being done, when that was asked for.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.debug {
            eprintln!("tsh: {}", crate::escape::neutral(&what()));
        }
    }
}

/// The definition of the program, for the reference, the completions and the manual page.
pub fn definition() -> clap::Command {
    Tsh::command()
}
