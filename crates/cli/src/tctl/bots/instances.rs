//! `tctl bots instances`: the running copies of bots.

pub mod add;
pub mod ls;
pub mod show;
pub mod unlock;

use crate::Failure;
use crate::tctl::session::Session;
use clap::Subcommand;

/// The commands of `tctl bots instances`.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// List running copies
    #[command(visible_alias = "ls")]
    List(ls::List),
    /// Show one of them
    #[command(aliases = ["get", "describe"])]
    Show(show::Show),
    /// Create a token for a further copy of a bot and print how to start it
    #[command(alias = "join")]
    Add(add::Add),
    /// Lift the lock of a copy of a bot that was seen in two places, and say how to go on
    Unlock(unlock::Unlock),
}

impl Instances {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run(session).await,
            Self::Show(command) => command.run(session).await,
            Self::Add(command) => command.run(session).await,
            Self::Unlock(command) => command.run(session).await,
        }
    }
}
