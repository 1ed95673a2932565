//! `tctl`: administers a cluster. One file per command; this one is the table of contents.

pub mod auth;
pub mod bots;
pub mod completion;
pub mod create;
pub mod edit;
pub mod events;
pub mod explain;
pub mod get;
pub mod join;
mod joining;
pub mod lock;
mod locked;
pub mod man;
pub mod nodes;
mod options;
mod refused;
mod resources;
pub mod rm;
mod selector;
mod session;
mod show;
pub mod status;
pub mod tokens;
pub mod users;
pub mod version;

pub use options::{Form, Options};
pub use selector::{Selector, SelectorError};

use crate::console::Console;
use crate::{Failure, USAGE};
use clap::{CommandFactory, Parser, Subcommand};
use session::Session;
use std::ffi::OsString;
use std::process::ExitCode;

/// Administers a Postern cluster
#[derive(Debug, Parser)]
#[command(name = "tctl", version, max_term_width = 100, subcommand_required = true)]
#[command(
    after_help = "On the machine of the auth service nothing more is needed; from elsewhere give -i with \
                        --auth-server or --proxy."
)]
pub struct Tctl {
    /// What every command takes.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the cluster, its authorities and whether it is well
    Status,
    /// Create or replace resources from a file
    Create(create::Create),
    /// Print resources in the form that create reads
    Get(get::Get),
    /// Change a resource in an editor
    Edit(edit::Edit),
    /// Remove resources
    Rm(rm::Rm),
    /// Machine identities
    #[command(subcommand, alias = "bot")]
    Bots(bots::Bots),
    /// Permissions to join the cluster
    #[command(subcommand, alias = "token")]
    Tokens(tokens::Tokens),
    /// SSH servers
    #[command(subcommand, alias = "node")]
    Nodes(nodes::Nodes),
    /// People
    #[command(subcommand, alias = "user")]
    Users(users::Users),
    /// Refuse a user, a role, a login, a server or a bot instance, at once
    Lock(lock::Lock),
    /// Certificate authorities and certificates
    #[command(subcommand)]
    Auth(auth::Auth),
    /// The audit log
    #[command(subcommand, alias = "event")]
    Events(events::Events),
    /// Say whether somebody may do something, and why
    #[command(subcommand)]
    Explain(explain::Explain),
    /// What became of attempts to join
    #[command(subcommand)]
    Join(join::Join),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the manual page
    #[command(hide = true)]
    Man(man::Man),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let mut console = Console::of_process();
    ExitCode::from(run(std::env::args_os(), &mut console))
}

/// Runs the program and gives its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console) -> u8 {
    let tctl = match Tctl::try_parse_from(arguments) {
        Ok(tctl) => tctl,
        Err(error) => return not_parsed(&error, console),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(tctl.command.run(&tctl.options, console)),
        Err(error) => Err(Failure::new(format!("cannot start: {error}"))),
    };
    match done {
        Ok(()) => 0,
        Err(failure) => console.fail(&tctl.options.explained(failure)),
    }
}

/// Help goes to standard output and is no error; mistakes go to standard error.
fn not_parsed(error: &clap::Error, console: &mut Console) -> u8 {
    let text = error.render().to_string();
    if !error.use_stderr() {
        return console.say(text).map_or(1, |()| 0);
    }
    console.remark(text.replacen("error: ", "ERROR: ", 1));
    USAGE
}

impl Command {
    async fn run(self, options: &Options, console: &mut Console) -> Result<(), Failure> {
        if !matches!(self, Self::Auth(auth::Auth::Sign(_))) {
            options.check_format()?;
        }
        let session = &mut Session::new(options, console);
        match self {
            Self::Status => status::run(session).await,
            Self::Create(command) => command.run(session).await,
            Self::Get(command) => command.run(session).await,
            Self::Edit(command) => command.run(session).await,
            Self::Rm(command) => command.run(session).await,
            Self::Bots(command) => command.run(session).await,
            Self::Tokens(command) => command.run(session).await,
            Self::Nodes(command) => command.run(session).await,
            Self::Users(command) => command.run(session).await,
            Self::Lock(command) => command.run(session).await,
            Self::Auth(command) => command.run(session).await,
            Self::Events(command) => command.run(session).await,
            Self::Explain(command) => command.run(session).await,
            Self::Join(command) => command.run(session).await,
            Self::Version => version::run(session),
            Self::Completion(command) => command.run(session),
            Self::Man(command) => command.run(session),
        }
    }
}

/// The definition of the program, for the reference and the manual pages.
pub fn definition() -> clap::Command {
    Tctl::command()
}

#[cfg(test)]
mod tests;
