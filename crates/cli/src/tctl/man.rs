//! `tctl man`: the manual pages, for packagers.

use super::session::Session;
use crate::Failure;
use crate::manual::TCTL;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `tctl man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command to this directory instead of printing the first one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::new(format!("cannot write the manual page: {error}"));
        if let Some(directory) = self.dir {
            clap_mangen::generate_to(super::definition(), &directory).map_err(failed)?;
            return TCTL.append_to(&directory, "tctl").map_err(failed);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(super::definition()).render(&mut page).map_err(failed)?;
        page.extend(TCTL.roff().bytes());
        session.console.raw(&page)
    }
}
