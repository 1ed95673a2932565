//! Changing a bot's roles and logins; each certificate issued from then on has them.

use super::{bot_name, login_names, role_names, within_bounds};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::refusal;
use crate::services::change::Change;
use crate::services::resources::{Action, event, known_roles};
use crate::services::rights::Rights;
use crate::services::shelf::Shelf;
use access::rbac::Verb;
use access::resource::{Bot, Kind, Resource};
use access::{BotName, RoleName};
use api::status::Problem;
use api::v1::UpdateBotRequest;
use async_trait::async_trait;
use store::Txn;

const LOGINS: &str = "logins";

/// A bot to be changed.
pub(super) struct Update<'a> {
    shelf: Shelf<'a>,
    name: BotName,
    roles: Edit<RoleName>,
    logins: Edit<String>,
}

/// What a list becomes: replaced if so wished, then added to.
struct Edit<T> {
    set: Option<Vec<T>>,
    add: Vec<T>,
}

impl<T: Clone + PartialEq> Edit<T> {
    fn is_nothing(&self) -> bool {
        self.set.is_none() && self.add.is_empty()
    }

    fn of(&self, present: &[T]) -> Vec<T> {
        let mut list = self.set.clone().unwrap_or_else(|| present.to_vec());
        for item in &self.add {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        list
    }
}

impl<'a> Update<'a> {
    /// Checks what can be checked without the store.
    pub fn new(shelf: Shelf<'a>, request: &UpdateBotRequest) -> Result<Self, Problem> {
        let set_roles = request.set_roles.then(|| role_names(&request.roles)).transpose()?;
        let set_logins = request.set_logins.then(|| login_names(&request.logins)).transpose()?;
        let change = Self {
            shelf,
            name: bot_name(&request.name)?,
            roles: Edit { set: set_roles, add: role_names(&request.add_roles)? },
            logins: Edit { set: set_logins, add: login_names(&request.add_logins)? },
        };
        match change.roles.is_nothing() && change.logins.is_nothing() {
            true => Err(refusal::invalid("no changes requested")),
            false => Ok(change),
        }
    }
}

#[async_trait]
impl Change for Update<'_> {
    /// The bot as it is then.
    type Done = Bot;

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Bot), Problem> {
        let shelf = self.shelf;
        let Some(Resource::Bot(mut bot)) = shelf.read_for(reads, Kind::Bot, self.name.as_str()).await? else {
            rights.check(Verb::Update, Kind::Bot.as_str())?;
            return Err(refusal::not_found(Kind::Bot, self.name.as_str()));
        };
        rights.may(Verb::Update, Kind::Bot.as_str(), Some(&bot.metadata))?;
        bot.roles = self.roles.of(&bot.roles);
        let logins = self.logins.of(bot.traits.values(LOGINS));
        match logins.is_empty() {
            true => drop(bot.traits.0.remove(LOGINS)),
            false => drop(bot.traits.0.insert(LOGINS.to_owned(), logins)),
        }
        known_roles(reads, &bot.roles).await?;
        let resource = Resource::Bot(bot.clone());
        within_bounds(&resource)?;
        let record = shelf.catalog.audit.record(caller.describe(event(Action::Update, &resource)));
        Ok((shelf.put(Txn::new(), &resource)?.event(record), bot))
    }
}
