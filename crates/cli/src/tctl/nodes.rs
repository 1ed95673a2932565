//! `tctl nodes`: SSH servers.

pub mod add;
pub mod ls;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The commands of `tctl nodes`.
#[derive(Debug, Subcommand)]
pub enum Nodes {
    /// List servers
    #[command(alias = "list")]
    Ls(ls::Ls),
    /// Create a token for a server and print how to join with it
    Add(add::Add),
}

impl Nodes {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Ls(command) => command.run(session).await,
            Self::Add(command) => command.run(session).await,
        }
    }
}
