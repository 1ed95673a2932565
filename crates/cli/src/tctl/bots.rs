//! `tctl bots`: machine identities (fact sheet on machine identities, section 5.1).

pub mod add;
pub mod instances;
pub mod lock;
pub mod ls;
pub mod rm;
pub mod update;

use super::session::Session;
use crate::Failure;
use clap::Subcommand;

/// The commands of `tctl bots`.
#[derive(Debug, Subcommand)]
pub enum Bots {
    /// Create a bot and print how to start its agent
    Add(add::Add),
    /// List bots
    #[command(alias = "list")]
    Ls,
    /// Remove a bot
    Rm(rm::Rm),
    /// Change a bot's roles and logins, from its next renewal on
    Update(update::Update),
    /// Refuse a bot at once
    Lock(lock::Lock),
    /// The running copies of bots
    #[command(subcommand, alias = "instance")]
    Instances(instances::Instances),
}

impl Bots {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Add(command) => command.run(session).await,
            Self::Ls => ls::run(session).await,
            Self::Rm(command) => command.run(session).await,
            Self::Update(command) => command.run(session).await,
            Self::Lock(command) => command.run(session).await,
            Self::Instances(command) => command.run(session).await,
        }
    }
}

/// A list as people write it: blanks dropped.
fn listed(texts: Vec<String>) -> Vec<String> {
    let texts = texts.into_iter().map(|text| text.trim().to_owned());
    texts.filter(|text| !text.is_empty()).collect()
}
