//! `tctl bots lock`: a lock of the bot's user, once it is sure that there is such a bot.

use crate::Failure;
use crate::tctl::lock::{End, create};
use crate::tctl::session::Session;
use access::BotName;
use access::resource::Kind;
use access::resource::lock::LockTarget;
use clap::Args;

/// Arguments of `tctl bots lock`.
#[derive(Debug, Args)]
pub struct Lock {
    /// The bot
    pub name: BotName,
    /// Shown to the agent
    #[arg(long, default_value = "")]
    pub message: String,
    /// Until when.
    #[command(flatten)]
    pub end: End,
}

impl Lock {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { name, message, end } = self;
        session.resources()?.one(Kind::Bot, name.as_str(), false).await?;
        let target = LockTarget { user: Some(name.resource_name()), ..LockTarget::default() };
        create(target, message, end, session).await
    }
}
