//! `tctl tokens`: permissions to join.

pub mod add;
pub mod ls;
pub mod rm;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The commands of `tctl tokens`.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Create a token for a host and print how to join with it
    Add(add::Add),
    /// List tokens
    #[command(alias = "list")]
    Ls(ls::Ls),
    /// Remove tokens
    #[command(alias = "del")]
    Rm(rm::Rm),
}

impl Tokens {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(session).await,
            Self::Ls(command) => command.run(session).await,
            Self::Rm(command) => command.run(session).await,
        }
    }
}
