//! `session-launcher`: started by the daemon, once, before anything else. See [`launcher::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(launcher::program::run())
}
