//! `tctl bots rm`.

use crate::Failure;
use crate::tctl::refused::Refused;
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
    #[serde(flatten)]
    refused: Refused,
}

impl Rm {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let request = DeleteBotRequest { name: self.name.to_string() };
        let refused: Refused = session.bots()?.delete_bot(request).await?.into_inner().into();
        let mut sentence = format!("Bot {:?} deleted successfully.", self.name.as_str());
        if let Some(more) = refused.sentence() {
            sentence = format!("{sentence}\n{more}");
        }
        session.tell(&Removed { name: self.name, action: "deleted", refused }, sentence)
    }
}
