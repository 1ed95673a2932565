//! The command line of `tbot`.

use crate::commands;
use crate::commands::completion::CompletionFlags;
use crate::commands::doctor::DoctorFlags;
use crate::commands::exec::ExecFlags;
use crate::commands::init::InitFlags;
use crate::commands::inspect::InspectFlags;
use crate::commands::install::Install;
use crate::commands::sshd::SshdFlags;
use crate::commands::status::StatusFlags;
use crate::commands::wait::WaitFlags;
use crate::config::StartFlags;
use crate::console::Level;
use crate::keypair::Keypair;
use crate::proxy_command::ProxyCommandFlags;
use crate::tpm::Tpm;
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

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Log more
    #[arg(short, long, global = true, env = "TBOT_DEBUG")]
    debug: bool,
    /// The configuration file; without it, flags say everything
    #[arg(short, long, global = true, value_name = "FILE", env = "TBOT_CONFIG_PATH")]
    pub(crate) config: Option<PathBuf>,
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
    /// Run a command with credentials of its own, which go when it ends
    Exec(ExecFlags),
    /// How the agent on this machine is; exit code 3 when not everything is valid or it does not run
    Status(StatusFlags),
    /// Wait until every output is written and valid; exit code 3 when the time is over
    Wait(WaitFlags),
    /// Make the directory of an output for the users that write and read it
    Init(InitFlags),
    /// Look at everything that an agent needs, and say how to mend what is wrong; exit code 1 when something is
    Doctor(DoctorFlags),
    /// Have this machine run the agent
    #[command(subcommand)]
    Install(Install),
    /// Give a stock OpenSSH server back that a service of type sshd looks after, or take it on again
    Sshd(SshdFlags),
    /// Write a configuration file from flags
    Configure(ConfigureFlags),
    /// The key that join method bound_keypair keeps
    #[command(subcommand)]
    Keypair(Keypair),
    /// The TPM of this machine
    #[command(subcommand)]
    Tpm(Tpm),
    /// Print the identities that a SPIFFE Workload API gives to whoever runs this
    #[command(name = "spiffe-inspect")]
    SpiffeInspect(InspectFlags),
    /// Connect standard input and output to a host; for ProxyCommand in ssh_config
    #[command(hide = true)]
    #[command(name = "ssh-proxy-command")]
    ProxySsh(ProxyCommandFlags),
    /// Print a completion script for a shell
    Completion(CompletionFlags),
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
    let Tbot { command, global } = Tbot::parse();
    harden();
    command.run(&global).unwrap_or_else(|error| {
        global.error(&error);
        ExitCode::FAILURE
    })
}

/// Keys must not end up in a core file.
fn harden() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Commands that it runs may raise the limit again. Refused only where it is impossible; then the process runs as before.
    let maximum = rustix::process::getrlimit(Resource::Core).maximum;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

impl Command {
    fn run(self, global: &Global) -> Result<ExitCode, String> {
        match self {
            Self::Version => done(crate::console::print(&format!("tbot {}\n", env!("CARGO_PKG_VERSION")))),
            Self::Completion(flags) => done(commands::completion::run(&flags)),
            Self::Configure(flags) => done(crate::configure::run(&flags.start, flags.output.as_deref())),
            Self::ProxySsh(flags) => done(proxy_command(flags)),
            Self::Start(flags) => commands::start::run(global, &flags),
            Self::Exec(flags) => commands::exec::run(global, &flags),
            Self::Status(flags) => commands::status::run(global, &flags),
            Self::SpiffeInspect(flags) => commands::inspect::run(global, &flags),
            Self::Init(flags) => commands::init::run(global, &flags),
            Self::Install(install) => install.run(global),
            Self::Doctor(flags) => commands::doctor::run(global, &flags),
            Self::Sshd(flags) => commands::sshd::run(global, &flags),
            Self::Wait(flags) => commands::wait::run(global, &flags),
            Self::Keypair(command) => done(command.run()),
            Self::Tpm(command) => done(command.run()),
        }
    }
}

fn done(outcome: Result<(), String>) -> Result<ExitCode, String> {
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Global {
    /// Starts the log.
    pub(crate) fn log(&self, debug: bool) {
        self.log_from(debug, Level::Usual);
    }

    /// Starts the log of a command whose own output matters.
    pub(crate) fn log_quietly(&self, debug: bool) {
        self.log_from(debug, Level::Quiet);
    }

    /// Tells on standard error what went wrong, in the form of the log.
    pub(crate) fn error(&self, text: &str) {
        match self.log_format {
            LogFormat::Text => crate::console::error(text),
            LogFormat::Json => crate::console::error_as_json(text),
        }
    }

    fn log_from(&self, debug: bool, usual: Level) {
        let level = if self.debug || debug { Level::Debug } else { usual };
        crate::console::log(self.log_format == LogFormat::Json, level);
    }
}

fn proxy_command(flags: ProxyCommandFlags) -> Result<(), String> {
    let runtime = runtime()?;
    let ended = runtime.block_on(crate::proxy_command::run(flags));
    // A read from standard input may be under way on a thread of its own, and would be waited for.
    runtime.shutdown_background();
    ended
}

/// One thread: the agent waits most of the time, and a proxy command carries one connection.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}
