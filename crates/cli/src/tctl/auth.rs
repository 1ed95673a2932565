//! `tctl auth`: certificate authorities and certificates.

pub mod export;
pub mod sign;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The commands of `tctl auth`.
#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Print the public keys of an authority
    Export(export::Export),
    /// Write an identity for a user to a file
    Sign(sign::Sign),
}

impl Auth {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Export(command) => command.run(session).await,
            Self::Sign(command) => command.run(session).await,
        }
    }
}
