//! What each command does; the words and exit codes of the program are chosen here.

mod configure;
mod settle;
mod start;

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use crate::config::ConfigError;

pub(crate) use configure::configure;
pub(crate) use start::start;

pub(crate) fn version() -> ExitCode {
    print(&format!("Postern v{}\n", env!("CARGO_PKG_VERSION")))
}

/// Prints to standard output. A reader that went away (`| head`) has got what it wanted.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("cannot write to standard output: {error}")),
    }
}

/// Mistakes of a file stand one per line and begin with its name, so that editors can jump there.
fn fail_config(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Mistakes(mistakes) => {
            let _ = writeln!(io::stderr().lock(), "{mistakes}");
            ExitCode::FAILURE
        }
        other => fail(other),
    }
}

fn fail(why: impl Display) -> ExitCode {
    // Nothing is left to be done where not even this can be said.
    let _ = writeln!(io::stderr().lock(), "postern: {why}");
    ExitCode::FAILURE
}
