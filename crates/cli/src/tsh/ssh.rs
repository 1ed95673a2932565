//! `tsh ssh`: a command or a shell on a host, with or without a terminal, and forwarded ports.

mod forward;
mod keys;
mod modes;
mod pump;
mod terminal;

use super::Global;
use super::arguments::command_line;
use super::connect::connect;
use super::exit::Exit;
use super::target::Target;
use crate::Failure;
use crate::console::Console;
use clap::Args;
use forward::LocalForward;
use std::ffi::OsString;
use std::process::ExitCode;
use terminal::Terminal;
use transport::ssh::client::{Client, Session};

/// Options of `tsh ssh`.
#[derive(Debug, Args)]
pub struct SshArguments {
    /// Port of the host's SSH service; any unless set
    #[arg(short, long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Ask for a terminal even for a command
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,
    /// Ask for no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,
    /// Forward a local port to a host and port as seen from the remote host
    #[arg(short = 'L', long = "forward", value_name = "[BIND:]PORT:HOST:HOSTPORT")]
    pub forwards: Vec<LocalForward>,
    /// Run no command: only forward ports
    #[arg(short = 'N', long, conflicts_with = "tty")]
    pub no_remote_exec: bool,
    /// Read nothing from standard input
    #[arg(short = 'n', long)]
    pub no_input: bool,
    /// The host, then the command as it is to run there; without a command, a shell
    #[arg(value_name = "[LOGIN@]HOST [COMMAND]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub words: Vec<OsString>,
}

impl SshArguments {
    /// The host as it was given.
    pub fn target(&self) -> String {
        self.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The words of the remote command.
    pub fn command(&self) -> &[OsString] {
        self.words.get(1..).unwrap_or_default()
    }

    /// A shell has a terminal when we have one; a command when it is asked for.
    fn wants_terminal(&self, here: bool) -> bool {
        self.tty || (here && self.command().is_empty() && !self.no_tty)
    }
}

/// Runs the session and ends as the remote command did.
pub async fn run(global: &Global, arguments: SshArguments) -> Result<ExitCode, Failure> {
    let target = Target::parse(&arguments.target())?;
    if arguments.no_remote_exec && !arguments.command().is_empty() {
        return Err(
            Failure::usage("-N runs no command, and a command is given").hint("leave out one of them")
        );
    }
    let client = connect(global, &target, arguments.port).await?;
    let outcome = session(&client, &arguments).await;
    client.disconnect("done").await;
    let exit = outcome?;
    if let Some(words) = exit.words() {
        Console::of_process().remark(words);
    }
    Ok(exit.into())
}

async fn session(client: &Client, arguments: &SshArguments) -> Result<Exit, Failure> {
    for forward in &arguments.forwards {
        forward.listen(client.clone()).await?;
    }
    if arguments.no_remote_exec {
        return pump::until_ended(client).await;
    }
    let mut session = client.session().await?;
    let terminal = match arguments.wants_terminal(Terminal::is_here()) {
        true => Some(terminal::request(&mut session).await?),
        false => None,
    };
    start(&mut session, arguments).await?;
    let raw = terminal.as_ref().map(Terminal::raw).transpose()?;
    let exit =
        pump::run(client, session, pump::Ends { terminal: terminal.is_some(), input: !arguments.no_input })
            .await;
    // Before anything is printed.
    drop(raw);
    exit
}

async fn start(session: &mut Session, arguments: &SshArguments) -> Result<(), Failure> {
    let command = command_line(arguments.command());
    let started = match command.is_empty() {
        true => session.shell().await,
        false => session.exec(&command).await,
    };
    Ok(started?)
}
