//! `tctl completion`: a script for a shell.

use super::session::Session;
use crate::Failure;
use clap::Args;
use clap_complete::Shell;

/// Arguments of `tctl completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl Completion {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::definition(), "tctl", &mut script);
        session.console.raw(&script)
    }
}
