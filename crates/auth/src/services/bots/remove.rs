//! Removing a bot with its instances, its unused tokens and the servers that it looked after, whose names are free then. What its
//! instances have got is refused at once, see [`super::leftover`]. Locks stay: a bot that was locked is locked when it is made
//! again under its name.

use super::bot_name;
use super::leftover::{Leftover, lock_of, refuse_name};
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
use access::{BotName, HostId, InstanceId};
use api::status::{Class, Problem};
use async_trait::async_trait;
use std::collections::BTreeSet;
use store::{Key, Range, Txn};

/// How much goes in one transaction, which has room for the locks and events, and for a few more writes.
const BATCH: usize = 80;
/// As many instances are locked one by one; a bot of more is locked as a whole. Locks are in every node's policy.
const MOST_LOCKS: usize = 16;

/// Removes a bot, in as many transactions as it takes; the last one takes the bot itself, and whatever joined in that very
/// moment goes after it. Each locks what it takes. Repeated after a crash, it goes on. The streams of servers that it looked
/// after end.
pub(in crate::services) async fn remove(
    shelf: Shelf<'_>,
    presence: &Presence,
    caller: &Caller,
    name: &str,
) -> Result<Leftover, Problem> {
    let change = Remove { shelf, name: bot_name(name)? };
    let mut done: Option<Leftover> = None;
    loop {
        match (make(shelf.catalog, caller, &change).await, &mut done) {
            (Ok(((step, servers), _)), done) => {
                done.get_or_insert_default().add(step);
                servers.into_iter().for_each(|id| presence.cut(id));
            }
            (Err(problem), Some(done)) if problem.class == Class::NotFound => {
                return Ok(std::mem::take(done));
            }
            (Err(problem), _) => return Err(problem),
        }
    }
}

/// Adds to the making of a bot that nothing is left of an earlier one of that name. An instance that joined in the
/// very moment of a removal could be. Refused while all certificates of that name are.
pub(in crate::services) async fn without_leftovers(
    shelf: Shelf<'_>,
    reads: &mut Reads<'_>,
    mut txn: Txn,
    caller: &Caller,
    bot: &BotName,
) -> Result<Txn, Problem> {
    if let Some(Resource::Lock(lock)) = shelf.read_for(reads, Kind::Lock, &lock_of(bot)).await? {
        return Err(refuse_name(bot, &lock));
    }
    let left = instances(shelf, bot).await?;
    let mut locks = Leftover::default();
    for id in ids(&left).take(MOST_LOCKS) {
        txn = locks.refuse_instance(shelf, txn, caller, (bot, id))?;
    }
    Ok(left.into_iter().fold(txn, Txn::delete))
}

fn ids(instances: &[Key]) -> impl Iterator<Item = InstanceId> + '_ {
    instances.iter().filter_map(|key| key.name().parse().ok())
}

struct Remove<'a> {
    shelf: Shelf<'a>,
    name: BotName,
}

#[async_trait]
impl Change for Remove<'_> {
    type Done = (Leftover, BTreeSet<HostId>);

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem> {
        let (shelf, name) = (self.shelf, self.name.as_str());
        let bot = shelf.read_for(reads, Kind::Bot, name).await?;
        let instances = instances(shelf, &self.name).await?;
        match &bot {
            Some(bot) => rights.may(Verb::Delete, Kind::Bot.as_str(), Some(bot.metadata()))?,
            None => rights.check(Verb::Delete, Kind::Bot.as_str())?,
        }
        if bot.is_none() && instances.is_empty() {
            return Err(refusal::not_found(Kind::Bot, name));
        }
        let mut left = Leftover::default();
        let mut txn = Txn::new();
        let whole = shelf.read_for(reads, Kind::Lock, &lock_of(&self.name)).await?.is_some();
        if instances.len() > MOST_LOCKS || (whole && !instances.is_empty()) {
            txn = left.refuse_bot(shelf, txn, caller, &self.name)?;
        } else {
            for id in ids(&instances) {
                txn = left.refuse_instance(shelf, txn, caller, (&self.name, id))?;
            }
        }
        let mut belongings = instances;
        belongings.extend(tokens(shelf, &self.name).await?);
        let (of_servers, servers) = servers(shelf, &self.name).await?;
        belongings.extend(of_servers);
        let is_last = belongings.len() <= BATCH;
        belongings.truncate(BATCH);
        let count = belongings.len();
        txn = belongings.into_iter().fold(txn, Txn::delete);
        let happened = match &bot {
            Some(bot) if is_last => {
                txn = txn.delete(place(Kind::Bot, name)?);
                event(Action::Delete, bot)
            }
            _ => Event::new(kind::BOT_INSTANCE_DELETE).name(name),
        };
        let record = caller.describe(happened.with("removed_instances_and_tokens", count));
        Ok((txn.event(shelf.catalog.audit.record(record)), (left, servers)))
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
