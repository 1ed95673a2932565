//! Making a bot and the token of its first instance, both or neither.

use super::{bot_name, login_names, one_time_token, role_names, within_bounds, without_leftovers};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::refusal;
use crate::services::change::Change;
use crate::services::resources::{Action, event, known_roles, unused_by_bots};
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, spoken};
use access::rbac::Verb;
use access::resource::bot::DEFAULT_MAX_SESSION_TTL;
use access::resource::{Bot, Kind, Metadata, Resource, Token};
use access::{SystemRole, Traits, Ttl};
use api::status::{Class, Problem};
use api::v1::{CreateBotRequest, CreateBotResponse};
use async_trait::async_trait;
use store::Txn;

/// A bot to be made.
pub(super) struct Create<'a> {
    shelf: Shelf<'a>,
    bot: Bot,
    join: Join<'a>,
}

/// With what its first instance joins.
enum Join<'a> {
    /// A token that is made along with it, and its life in seconds.
    New(Box<Token>, u64),
    /// One that is there already.
    Named(&'a str),
}

impl<'a> Create<'a> {
    /// Checks what can be checked without the store.
    pub fn new(shelf: Shelf<'a>, request: &'a CreateBotRequest) -> Result<Self, Problem> {
        let name = bot_name(&request.name)?;
        let logins = login_names(&request.logins)?;
        let traits =
            if logins.is_empty() { Traits::default() } else { Traits::from_iter([("logins", logins)]) };
        let max_session_ttl = match request.max_session_ttl_seconds {
            0 => DEFAULT_MAX_SESSION_TTL,
            seconds => Ttl::from_secs(seconds),
        };
        let roles = role_names(&request.roles)?;
        let metadata = Metadata { name: name.to_string(), ..Metadata::default() };
        let join = match request.token.as_str() {
            "" => {
                let now = shelf.catalog.now();
                let (token, ttl) = one_time_token(&name, request.token_ttl_seconds, now)?;
                Join::New(Box::new(token), ttl)
            }
            named => Join::Named(named),
        };
        let bot = Bot { metadata, name, roles, traits, max_session_ttl };
        within_bounds(&Resource::Bot(bot.clone()))?;
        Ok(Self { shelf, bot, join })
    }

    /// The existing token fits this bot. It stays as it is, and the transaction fails if it does not.
    async fn fitting(&self, reads: &mut Reads<'_>, name: &str) -> Result<(String, u64), Problem> {
        let said = spoken(Kind::Token, name);
        let unfit = |reason: String| Problem::new(Class::Precondition, "token_unfit", reason);
        let Some(Resource::Token(token)) = self.shelf.read_for(reads, Kind::Token, name).await? else {
            return Err(refusal::not_found(Kind::Token, &said).hint("leave it out to get a new one"));
        };
        if !token.spec.roles.contains(&SystemRole::Bot) {
            return Err(unfit(format!("token {said:?} does not have the role Bot")));
        }
        if token.spec.bot_name.as_ref() != Some(&self.bot.name) {
            return Err(unfit(format!("token {said:?} is for another bot than {:?}", self.bot.name)));
        }
        let left = token.metadata.expires.map(|end| end.duration_since(self.shelf.catalog.now()).as_secs());
        Ok((name.to_owned(), left.and_then(|left| u64::try_from(left).ok()).unwrap_or(0)))
    }
}

#[async_trait]
impl Change for Create<'_> {
    type Done = CreateBotResponse;

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, CreateBotResponse), Problem> {
        let Self { shelf, bot, join } = self;
        let audit = &shelf.catalog.audit;
        rights.may(Verb::Create, Kind::Bot.as_str(), Some(&bot.metadata))?;
        if shelf.read_for(reads, Kind::Bot, bot.name.as_str()).await?.is_some() {
            return Err(refusal::exists(Kind::Bot, bot.name.as_str())
                .hint("a further instance of it gets its token from tctl bots instances add"));
        }
        unused_by_bots(*shelf, reads, &bot.name).await?;
        known_roles(reads, &bot.roles).await?;
        let resource = Resource::Bot(bot.clone());
        let mut txn = shelf.put(Txn::new(), &resource)?;
        txn = txn.event(audit.record(caller.describe(event(Action::Create, &resource))));
        let (token, token_ttl_seconds) = match join {
            Join::Named(name) => self.fitting(reads, name).await?,
            Join::New(token, ttl) => {
                rights.may(Verb::Create, Kind::Token.as_str(), Some(&token.metadata))?;
                let name = token.metadata.name.clone();
                let token = Resource::Token(Token::clone(token));
                txn = shelf.put(txn, &token)?;
                txn = txn.event(audit.record(caller.describe(event(Action::Create, &token))));
                (name, *ttl)
            }
        };
        txn = without_leftovers(*shelf, reads, txn, caller, &bot.name).await?;
        let name = bot.name.resource_name();
        Ok((txn, CreateBotResponse { user_name: name.clone(), role_name: name, token, token_ttl_seconds }))
    }
}
