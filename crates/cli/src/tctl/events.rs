//! `tctl events`: the audit log.

pub mod ls;
mod row;
pub mod tail;
pub mod verify;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The commands of `tctl events`.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// List events
    #[command(alias = "list")]
    Ls(ls::Ls),
    /// Print events as they happen
    Tail(tail::Tail),
    /// Check that no event was changed or removed
    Verify,
}

impl Events {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Ls(command) => command.run(session).await,
            Self::Tail(command) => command.run(session).await,
            Self::Verify => verify::run(session).await,
        }
    }
}
