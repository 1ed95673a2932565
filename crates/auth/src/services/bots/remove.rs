//! Removing a bot with its instances, its unused tokens and the servers that it looked after, whose names are free then. Locks stay: a bot that was locked is locked when it is made
//! again under its name.

use super::bot_name;
use crate::audit::{Event, kind};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::enrol::host::Host;
use crate::enrol::host_names::Owner;
use crate::presence::Presence;
use crate::refusal;
use crate::services::certificates::kept_by;
use crate::services::change::{Change, make};
use crate::services::resources::{Action, event};
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, place};
use access::rbac::Verb;
use access::resource::{Kind, Resource};
use access::{BotName, HostId};
use api::status::Problem;
use async_trait::async_trait;
use std::collections::BTreeSet;
use store::{Key, Range, Txn};

/// How much goes in one transaction, which has room for a few more writes.
const BATCH: usize = 100;

/// Removes a bot, in as many transactions as it takes; the last one takes the bot itself. The streams of servers that it looked
/// after end.
pub(in crate::services) async fn remove(
    shelf: Shelf<'_>,
    presence: &Presence,
    caller: &Caller,
    name: &str,
) -> Result<(), Problem> {
    let change = Remove { shelf, name: bot_name(name)? };
    loop {
        let ((left, servers), _) = make(shelf.catalog, caller, &change).await?;
        servers.into_iter().for_each(|id| presence.cut(id));
        if left == Left::Nothing {
            return Ok(());
        }
    }
}

/// Adds to the making of a bot that nothing is left of an earlier one of that name. An instance that joined in the
/// very moment of a removal could be.
pub(in crate::services) async fn without_leftovers(
    shelf: Shelf<'_>,
    txn: Txn,
    bot: &BotName,
) -> Result<Txn, Problem> {
    let left = instances(shelf, bot).await?;
    Ok(left.into_iter().fold(txn, Txn::delete))
}

struct Remove<'a> {
    shelf: Shelf<'a>,
    name: BotName,
}

#[derive(Debug, PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

#[async_trait]
impl Change for Remove<'_> {
    type Done = (Left, BTreeSet<HostId>);

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem> {
        let (shelf, name) = (self.shelf, self.name.as_str());
        let Some(bot) = shelf.read_for(reads, Kind::Bot, name).await? else {
            rights.check(Verb::Delete, Kind::Bot.as_str())?;
            return Err(refusal::not_found(Kind::Bot, name));
        };
        rights.may(Verb::Delete, Kind::Bot.as_str(), Some(bot.metadata()))?;
        let mut belongings = tokens(shelf, &self.name).await?;
        belongings.extend(instances(shelf, &self.name).await?);
        let (of_servers, ids) = servers(shelf, &self.name).await?;
        belongings.extend(of_servers);
        let is_last = belongings.len() <= BATCH;
        belongings.truncate(BATCH);
        let count = belongings.len();
        let mut txn = belongings.into_iter().fold(Txn::new(), Txn::delete);
        let happened = match is_last {
            true => {
                txn = txn.delete(place(Kind::Bot, name)?);
                event(Action::Delete, &bot)
            }
            false => Event::new(kind::BOT_INSTANCE_DELETE).name(name),
        };
        let record = caller.describe(happened.with("removed_instances_and_tokens", count));
        let left = if is_last { Left::Nothing } else { Left::More };
        Ok((txn.event(shelf.catalog.audit.record(record)), (left, ids)))
    }
}

async fn instances(shelf: Shelf<'_>, bot: &BotName) -> Result<Vec<Key>, Problem> {
    let page = shelf.catalog.range(Range::under(layout::instances(bot)).limit(BATCH + 1)).await?;
    Ok(page.entries.into_iter().map(|entry| entry.key).collect())
}

/// The servers that a bot looked after: their places among the nodes, their names, and last what they are found by.
async fn servers(shelf: Shelf<'_>, bot: &BotName) -> Result<(Vec<Key>, BTreeSet<HostId>), Problem> {
    let (mut ids, mut names, mut enrolled) = (BTreeSet::new(), vec![], vec![]);
    for entry in shelf.catalog.all(layout::host_names()).await? {
        let owner = Owner::read(&entry)?;
        if owner.bot.as_ref() == Some(bot) {
            ids.insert(owner.id);
            names.push(entry.key);
        }
    }
    for entry in shelf.catalog.all(layout::hosts()).await? {
        let host = Host::read(&entry)?;
        if host.process == kept_by(bot) {
            ids.insert(host.id);
            enrolled.push(entry.key);
        }
    }
    let nodes = ids.iter().map(|id| layout::node(*id));
    Ok((nodes.chain(names).chain(enrolled).collect(), ids))
}

/// One that cannot be read cannot be used to join either, and is no reason to keep a bot.
async fn tokens(shelf: Shelf<'_>, bot: &BotName) -> Result<Vec<Key>, Problem> {
    let entries = shelf.catalog.all(layout::kind(Kind::Token)).await?;
    let of_bot = entries.into_iter().filter(|entry| match shelf.open(Kind::Token, entry) {
        Ok(Resource::Token(token)) => token.spec.bot_name.as_ref() == Some(bot),
        _ => false,
    });
    Ok(of_bot.map(|entry| entry.key).collect())
}
