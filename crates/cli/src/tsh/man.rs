//! `tsh man`: the manual page, for packages.

use crate::Failure;
use crate::console::Console;
use std::process::ExitCode;

/// Prints the page.
pub fn run() -> Result<ExitCode, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(super::definition())
        .render(&mut page)
        .map_err(|error| Failure::new(format!("cannot write the manual page: {error}")))?;
    page.extend(crate::manual::TSH.roff().bytes());
    Console::of_process().raw(&page)?;
    Ok(ExitCode::SUCCESS)
}
