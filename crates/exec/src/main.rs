//! `session-exec`: started by the node service, once per session. See [`exec::helper`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(exec::helper::run())
}
