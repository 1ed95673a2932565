//! A token for a further instance of a bot.

use super::{bot_name, one_time_token};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::refusal;
use crate::services::change::Change;
use crate::services::resources::{Action, event};
use crate::services::rights::Rights;
use crate::services::shelf::Shelf;
use access::BotName;
use access::rbac::Verb;
use access::resource::{Kind, Resource, Token};
use api::status::Problem;
use api::v1::AddInstanceRequest;
use async_trait::async_trait;
use store::Txn;

/// A token to be made.
pub(super) struct Add<'a> {
    shelf: Shelf<'a>,
    bot: BotName,
    /// A secret.
    pub token: Token,
    /// Its life in seconds.
    pub ttl: u64,
}

impl<'a> Add<'a> {
    /// Draws the token.
    pub fn new(shelf: Shelf<'a>, request: &AddInstanceRequest) -> Result<Self, Problem> {
        let bot = bot_name(&request.name)?;
        let (token, ttl) = one_time_token(&bot, request.token_ttl_seconds, shelf.catalog.now())?;
        Ok(Self { shelf, bot, token, ttl })
    }
}

#[async_trait]
impl Change for Add<'_> {
    type Done = ();

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, ()), Problem> {
        rights.may(Verb::Create, Kind::Token.as_str(), Some(&self.token.metadata))?;
        if self.shelf.read_for(reads, Kind::Bot, self.bot.as_str()).await?.is_none() {
            return Err(refusal::not_found(Kind::Bot, self.bot.as_str()).hint("make it with tctl bots add"));
        }
        let token = Resource::Token(self.token.clone());
        let record = self.shelf.catalog.audit.record(caller.describe(event(Action::Create, &token)));
        Ok((self.shelf.put(Txn::new(), &token)?.event(record), ()))
    }
}
