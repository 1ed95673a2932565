//! `tctl bots update`.

use super::listed;
use crate::Failure;
use crate::tctl::session::Session;
use access::BotName;
use api::v1::UpdateBotRequest;
use clap::Args;
use serde_json::Value;

/// Arguments of `tctl bots update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The bot
    pub name: BotName,
    /// The roles from now on
    #[arg(long, value_delimiter = ',')]
    pub set_roles: Option<Vec<String>>,
    /// Further roles
    #[arg(long, value_delimiter = ',')]
    pub add_roles: Vec<String>,
    /// The accounts on servers from now on; empty for none
    #[arg(long, value_delimiter = ',')]
    pub set_logins: Option<Vec<String>>,
    /// Further accounts on servers
    #[arg(long, value_delimiter = ',')]
    pub add_logins: Vec<String>,
}

impl Update {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let request = self.request();
        let asks = [request.set_roles, request.set_logins].contains(&true)
            || !(request.add_roles.is_empty() && request.add_logins.is_empty());
        if !asks {
            return session.tell(&Value::Null, "No changes requested, nothing to do.");
        }
        let name = request.name.clone();
        let answer = session.bots()?.update_bot(request).await?.into_inner();
        // The bot as it is now, for programs; they get nothing rather than half of it.
        let bot: Value = serde_json::from_str(&answer.json).unwrap_or_default();
        let sentence = format!("Bot {name:?} has been updated; roles and logins change at its next renewal.");
        session.tell(&bot, sentence)
    }

    fn request(self) -> UpdateBotRequest {
        let Self { name, set_roles, add_roles, set_logins, add_logins } = self;
        UpdateBotRequest {
            name: name.to_string(),
            set_roles: set_roles.is_some(),
            roles: listed(set_roles.unwrap_or_default()),
            add_roles: listed(add_roles),
            set_logins: set_logins.is_some(),
            logins: listed(set_logins.unwrap_or_default()),
            add_logins: listed(add_logins),
        }
    }
}
