//! `tctl bots instances add`.

use crate::Failure;
use crate::console::Format;
use crate::tctl::bots::add::limit;
use crate::tctl::joining::Joining;
use crate::tctl::session::Session;
use access::{BotName, Ttl};
use api::v1::AddInstanceRequest;
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// Arguments of `tctl bots instances add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The bot
    pub name: BotName,
    /// How long the agent has to join
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub ttl: Ttl,
}

#[derive(Serialize)]
struct Shown {
    token_id: String,
    /// Nanoseconds.
    token_ttl: u64,
    ca_pins: Vec<String>,
    proxy_addrs: Vec<String>,
}

impl Add {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let joining = Joining::ask(session).await?;
        let token_ttl_seconds = limit(self.ttl, "--ttl")?.as_secs();
        let request = AddInstanceRequest { name: self.name.to_string(), token_ttl_seconds };
        let answer = session.bots()?.add_instance(request).await?.into_inner();
        let ttl = Duration::from_secs(answer.token_ttl_seconds);
        if session.format() == Format::Text {
            return session.console.say(joining.agent(&answer.token, ttl)?);
        }
        let shown = Shown {
            token_id: answer.token,
            token_ttl: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX),
            ca_pins: joining.pin_texts(),
            proxy_addrs: joining.proxy_texts(),
        };
        session.show(&shown, |_, _| Ok(()))
    }
}
