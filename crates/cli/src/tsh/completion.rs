//! `tsh completion SHELL`.

use crate::Failure;
use crate::console::Console;
use clap::Args;
use clap_complete::Shell;
use std::process::ExitCode;

/// Options of `tsh completion`.
#[derive(Debug, Args)]
pub struct CompletionArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: CompletionArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::definition(), "tsh", &mut script);
    Console::of_process().raw(&script)?;
    Ok(ExitCode::SUCCESS)
}
