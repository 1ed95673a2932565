//! `tctl users`: people.

pub mod add;
pub mod ls;
pub mod rm;
pub mod update;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The trait that holds a user's accounts on servers.
const LOGINS: &str = "logins";

/// The commands of `tctl users`.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// Create a user
    Add(add::Add),
    /// List users
    #[command(alias = "list")]
    Ls,
    /// Change a user's roles or logins
    Update(update::Update),
    /// Remove users
    Rm(rm::Rm),
}

impl Users {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(session).await,
            Self::Ls => ls::run(session).await,
            Self::Update(command) => command.run(session).await,
            Self::Rm(command) => command.run(session).await,
        }
    }
}

/// A list as people write it, without blanks.
fn listed(texts: Vec<String>) -> Vec<String> {
    let texts = texts.into_iter().map(|text| text.trim().to_owned());
    texts.filter(|text| !text.is_empty()).collect()
}
