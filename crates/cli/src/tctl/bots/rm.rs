//! `tctl bots rm`.

use crate::Failure;
use crate::tctl::session::Session;
use access::BotName;
use api::v1::DeleteBotRequest;
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl bots rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// The bot
    pub name: BotName,
}

#[derive(Serialize)]
struct Removed {
    name: BotName,
    action: &'static str,
}

impl Rm {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        session.bots()?.delete_bot(DeleteBotRequest { name: self.name.to_string() }).await?;
        let sentence = format!("Bot {:?} deleted successfully.", self.name.as_str());
        session.tell(&Removed { name: self.name, action: "deleted" }, sentence)
    }
}
