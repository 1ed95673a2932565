//! `tctl bots add`.

use super::listed;
use crate::Failure;
use crate::console::Format;
use crate::tctl::joining::Joining;
use crate::tctl::session::Session;
use access::{BotName, Ttl};
use api::v1::{CreateBotRequest, CreateBotResponse};
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// Arguments of `tctl bots add`.
#[derive(Debug, Args)]
pub struct Add {
    /// The bot's name
    pub name: BotName,
    /// Roles that its outputs may have
    #[arg(long, value_delimiter = ',')]
    pub roles: Vec<String>,
    /// Accounts on servers, for roles that refer to the bot's logins
    #[arg(long, value_delimiter = ',')]
    pub logins: Vec<String>,
    /// How long its first agent has to join
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub ttl: Ttl,
    /// An existing token for this bot, instead of a new one
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The longest life of its certificates
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    pub max_session_ttl: Ttl,
}

#[derive(Serialize)]
struct Shown {
    user_name: String,
    role_name: String,
    token_id: String,
    /// Nanoseconds.
    token_ttl: u64,
    ca_pins: Vec<String>,
    proxy_addrs: Vec<String>,
}

impl Add {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { name, roles, logins, ttl, token, max_session_ttl } = self;
        let roles = listed(roles);
        // Before the bot exists: a failure after that would hide its token.
        let joining = Joining::ask(session).await?;
        if roles.is_empty() {
            session.console.remark(format!(
                "WARNING: bot {:?} has no roles and can reach nothing; give it some with tctl bots update {name} --add-roles",
                name.as_str()
            ));
        }
        let request = CreateBotRequest {
            name: name.to_string(),
            roles,
            logins: listed(logins),
            token: token.unwrap_or_default(),
            token_ttl_seconds: limit(ttl, "--ttl")?.as_secs(),
            max_session_ttl_seconds: limit(max_session_ttl, "--max-session-ttl")?.as_secs(),
        };
        let created = session.bots()?.create_bot(request).await?.into_inner();
        show(created, &joining, session)
    }
}

fn show(created: CreateBotResponse, joining: &Joining, session: &mut Session<'_>) -> Result<(), Failure> {
    let CreateBotResponse { user_name, role_name, token, token_ttl_seconds } = created;
    let ttl = Duration::from_secs(token_ttl_seconds);
    if session.format() == Format::Text {
        return session.console.say(joining.agent(&token, ttl)?);
    }
    let shown = Shown {
        user_name,
        role_name,
        token_id: token,
        token_ttl: u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX),
        ca_pins: joining.pin_texts(),
        proxy_addrs: joining.proxy_texts(),
    };
    session.show(&shown, |_, _| Ok(()))
}

/// A duration that must have an end.
pub(super) fn limit(ttl: Ttl, flag: &str) -> Result<Duration, Failure> {
    ttl.limit().ok_or_else(|| Failure::usage(format!("{flag} needs a length of time like 1h")))
}
