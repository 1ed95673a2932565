//! `tctl tokens add`: a token and how to join with it.

use crate::Failure;
use crate::console::Format;
use crate::tctl::joining::Joining;
use crate::tctl::session::Session;
use access::name::SystemRole;
use access::resource::token::{Method, TokenSpec};
use access::resource::{Metadata, Resource, Token};
use access::{Labels, Ttl};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Arguments of `tctl tokens add`.
#[derive(Debug, Args)]
pub struct Add {
    /// What joins with it: node, proxy or both with a comma
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', required = true)]
    pub types: Vec<SystemRole>,
    /// The token itself, instead of a random one
    #[arg(long)]
    pub value: Option<String>,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub ttl: Ttl,
    /// Labels of the token, like env=prod
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    pub labels: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Shown<'a> {
    token: &'a str,
    roles: &'a [SystemRole],
    expires: Timestamp,
}

impl Add {
    pub(in crate::tctl) async fn run(mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        self.types.sort_unstable();
        self.types.dedup();
        let labels = Labels(self.labels.into_iter().collect());
        let (token, expires) = create(&self.types, self.value, self.ttl, labels, session).await?;
        let shown = Shown { token: &token, roles: &self.types, expires };
        match session.options.output() {
            // The bare token, for scripts.
            Some(Format::Text) => session.console.say(&token),
            Some(_) => session.show(&shown, |_, _| Ok(())),
            None => {
                let instructions = Joining::ask(session).await?.host(&token, &self.types, self.ttl.0)?;
                session.console.say(instructions)
            }
        }
    }
}

/// Creates a token for hosts; gives it and its end.
pub(in crate::tctl) async fn create(
    roles: &[SystemRole],
    value: Option<String>,
    ttl: Ttl,
    labels: Labels,
    session: &mut Session<'_>,
) -> Result<(String, Timestamp), Failure> {
    check_roles(roles)?;
    let expires = end(ttl, Timestamp::now())?;
    let name = value.map_or_else(random, Ok)?;
    let metadata =
        Metadata { name: name.clone(), labels: labels.0, expires: Some(expires), ..Metadata::default() };
    let spec = TokenSpec { roles: roles.to_vec(), method: Method::Token, bot_name: None };
    let checked = Resource::from_json(Resource::Token(Token { metadata, spec, status: None }).to_json());
    let token = checked.map_err(|invalid| Failure::usage(invalid.to_string()))?;
    session.resources()?.create(&token).await?;
    Ok((name, expires))
}

fn check_roles(roles: &[SystemRole]) -> Result<(), Failure> {
    if roles.contains(&SystemRole::Bot) {
        return Err(Failure::usage("a bot's token needs the bot's name")
            .hint("create it with tctl bots add NAME or tctl bots instances add NAME"));
    }
    match roles.contains(&SystemRole::Auth) {
        true => Err(Failure::usage("auth services do not join by token; give --type=node or --type=proxy")),
        false => Ok(()),
    }
}

fn end(ttl: Ttl, now: Timestamp) -> Result<Timestamp, Failure> {
    let limit = ttl.limit().ok_or_else(|| Failure::usage("a token needs an end; give --ttl like 30m"))?;
    let limit = SignedDuration::try_from(limit).ok();
    let end = limit.and_then(|limit| now.checked_add(limit).ok());
    end.ok_or_else(|| Failure::usage("--ttl is longer than time itself"))
}

/// 16 random bytes in hex.
fn random() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::new("the system gives no random numbers"))?;
    Ok(hex::encode(bytes))
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
