//! `tsh`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::tsh::main()
}
