//! `tsh version`.

use crate::Failure;
use crate::console::Console;
use std::process::ExitCode;

/// Prints the version.
pub fn run() -> Result<ExitCode, Failure> {
    Console::of_process().say(concat!("tsh v", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
