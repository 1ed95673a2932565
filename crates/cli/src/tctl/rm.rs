//! `tctl rm`: removes resources by kind and name.

use super::Selector;
use super::refused::Refused;
use super::session::Session;
use super::show::called;
use crate::Failure;
use access::resource::Kind;
use api::v1::DeleteBotRequest;
use clap::Args;
use serde::Serialize;

/// Arguments of `tctl rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// KIND/NAME, several with commas
    #[arg(value_name = "KIND/NAME", required = true)]
    pub resources: Vec<String>,
}

#[derive(Serialize)]
struct Removed {
    kind: &'static str,
    name: String,
    action: &'static str,
    #[serde(flatten)]
    refused: Option<Refused>,
    #[serde(skip)]
    called: String,
}

impl Rm {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let named =
            Selector::read_named(&self.resources).map_err(|error| Failure::usage(error.to_string()))?;
        let mut removed = Vec::new();
        let mut outcome = Ok(());
        for (kind, name) in named {
            let refused = match remove(kind, &name, session).await {
                Ok(refused) => refused,
                Err(failure) => {
                    outcome = Err(failure);
                    break;
                }
            };
            let called = called(kind, &name);
            let name = if kind == Kind::Token { access::resource::token::masked(&name) } else { name };
            removed.push(Removed {
                kind: kind.as_str(),
                name,
                action: "deleted",
                refused: refused.known(),
                called,
            });
        }
        session.show(&removed, |removed, console| {
            removed.iter().try_for_each(|one| {
                console.say(format!("{} has been deleted", one.called))?;
                one.refused
                    .as_ref()
                    .and_then(Refused::sentence)
                    .map_or(Ok(()), |sentence| console.say(sentence))
            })
        })?;
        outcome
    }
}

/// A bot is more than one resource, and its service removes them together.
async fn remove(kind: Kind, name: &str, session: &mut Session<'_>) -> Result<Refused, Failure> {
    match kind {
        Kind::Bot => {
            let request = DeleteBotRequest { name: name.to_owned() };
            Ok(session.bots()?.delete_bot(request).await?.into_inner().into())
        }
        kind => session.resources()?.delete(kind, name).await,
    }
}
