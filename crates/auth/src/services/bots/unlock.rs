//! Lifting the lock of an instance of which two were seen. That lock alone: what a person has locked, a person unlocks.

use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::refusal;
use crate::services::certificates::{Sighting, Sightings, lock_name};
use crate::services::change::Change;
use crate::services::resources::{Action, event};
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, place};
use access::rbac::Verb;
use access::rbac::lock::{LockSubject, in_force};
use access::resource::{Kind, Lock, Resource};
use access::{BotName, InstanceId};
use api::status::{Class, Problem};
use api::v1;
use async_trait::async_trait;
use store::Txn;

/// A lock to be lifted.
pub(super) struct Unlock<'a> {
    shelf: Shelf<'a>,
    bot: BotName,
    instance: InstanceId,
}

impl<'a> Unlock<'a> {
    /// Reads whose lock it is, from `BOT/UUID`.
    pub fn new(shelf: Shelf<'a>, name: &str) -> Result<Self, Problem> {
        let parts =
            name.split_once('/').and_then(|(bot, id)| Some((BotName::new(bot).ok()?, id.parse().ok()?)));
        let (bot, instance) =
            parts.ok_or_else(|| refusal::invalid("invalid bot instance syntax; write BOT/UUID"))?;
        Ok(Self { shelf, bot, instance })
    }

    fn not_locked(&self) -> Problem {
        let Self { bot, instance, .. } = self;
        let reason =
            format!("no copy of the bot instance {bot}/{instance} was detected, so there is no such lock");
        Problem::new(Class::NotFound, "lock_not_found", reason).hint(
            "tctl get locks shows every lock; remove one that an administrator set with tctl rm lock/NAME",
        )
    }

    /// The lock, if it is one that was set for this instance of this bot.
    async fn lock(&self, reads: &mut Reads<'_>) -> Result<Option<Lock>, Problem> {
        let Self { shelf, bot, instance } = self;
        let found = shelf.read_for(reads, Kind::Lock, &lock_name(*instance)).await?;
        let Some(Resource::Lock(lock)) = found else { return Ok(None) };
        let targets = lock.spec.target.bot_instance_id.as_deref() == Some(instance.to_string().as_str());
        // Whose instance it is, is known as long as there is one.
        let name = format!("{bot}/{instance}");
        let of_bot = shelf.read_for(reads, Kind::BotInstance, &name).await?.is_some();
        Ok(Some(lock).filter(|_| targets && of_bot))
    }

    /// Locks that hit it beside the one that goes.
    fn others(&self, gone: &str) -> Vec<String> {
        let Self { shelf, bot, instance } = self;
        let view = shelf.catalog.view();
        let user = view.bots.get(bot.as_str()).map(|found| access::bot::user_of(&found.value));
        let subject = LockSubject {
            user: user.as_ref().map(|user| &user.name),
            roles: user.as_ref().map(|user| user.spec.roles.as_slice()).unwrap_or_default(),
            bot_instance_id: Some(*instance),
            ..LockSubject::default()
        };
        let others = view.locks.values().map(|found| &*found.value).filter(|lock| lock.metadata.name != gone);
        let hit = others.filter(|lock| in_force([*lock], &subject, shelf.catalog.now()).is_some());
        hit.map(|lock| lock.metadata.name.clone()).collect()
    }
}

#[async_trait]
impl Change for Unlock<'_> {
    type Done = v1::UnlockInstanceResponse;

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem> {
        let kind = Kind::Lock.as_str();
        let Some(lock) = self.lock(reads).await? else {
            rights.check(Verb::Delete, kind)?;
            return Err(self.not_locked());
        };
        rights.may(Verb::Delete, kind, Some(&lock.metadata))?;
        let name = lock.metadata.name.clone();
        let (ahead, behind) = Sightings::of(&lock).map(|seen| (told(seen.ahead), told(seen.behind))).unzip();
        let join_token = lock.spec.target.join_token.clone().unwrap_or_default();
        let other_locks = self.others(&name);
        let record = caller
            .describe(event(Action::Delete, &Resource::Lock(lock)))
            .with("bot_name", self.bot.as_str())
            .with("bot_instance_id", self.instance.to_string());
        let txn = Txn::new()
            .delete(place(Kind::Lock, &name)?)
            .put(layout::lock_epoch(), "")
            .event(self.shelf.catalog.audit.record(record));
        Ok((txn, v1::UnlockInstanceResponse { lock: name, ahead, behind, join_token, other_locks }))
    }
}

fn told(Sighting { addr, generation }: Sighting) -> v1::Sighting {
    v1::Sighting { addr, generation }
}
