//! Refuses at once what a removed bot or instance has left: its certificates would be good until they end. The refusal is
//! a lock, committed along with the removal, and ends when the last of them has.

use crate::caller::Caller;
use crate::lifetime;
use crate::refusal;
use crate::services::resources::{Action, event};
use crate::services::shelf::Shelf;
use access::resource::lock::{LockSpec, LockTarget};
use access::resource::{Lock, Metadata, Resource};
use access::{BotName, InstanceId};
use api::status::{Class, Problem};
use jiff::{SignedDuration, Timestamp};
use store::Txn;

/// Certificates begin a little before they are made, clocks differ.
const SLACK: SignedDuration = SignedDuration::from_mins(5);

/// The locks that removals have set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::services) struct Leftover {
    /// Their names.
    pub locks: Vec<String>,
    /// When the last of them ends.
    pub until: Option<Timestamp>,
}

impl Leftover {
    /// Those of a further step.
    pub fn add(&mut self, other: Self) {
        let known = std::mem::take(&mut self.locks);
        let new = other.locks.into_iter().filter(|lock| !known.contains(lock)).collect::<Vec<_>>();
        self.locks = [known, new].concat();
        self.until = self.until.max(other.until);
    }

    /// As it is told; empty if there are none.
    pub fn told_until(&self) -> String {
        self.until.map(|until| until.to_string()).unwrap_or_default()
    }

    /// Adds the lock of an instance to the transaction that removes it.
    pub fn refuse_instance(
        &mut self,
        shelf: Shelf<'_>,
        txn: Txn,
        caller: &Caller,
        whose: (&BotName, InstanceId),
    ) -> Result<Txn, Problem> {
        let (bot, instance) = whose;
        let target = LockTarget { bot_instance_id: Some(instance.to_string()), ..LockTarget::default() };
        let removed = format!("the bot instance {bot}/{instance} was removed");
        self.refuse(shelf, txn, caller, format!("removed-{instance}"), target, &removed)
    }

    /// The same of all instances of a bot, for a bot of many. Until it ends, no bot can have that name.
    pub fn refuse_bot(
        &mut self,
        shelf: Shelf<'_>,
        txn: Txn,
        caller: &Caller,
        bot: &BotName,
    ) -> Result<Txn, Problem> {
        let target = LockTarget { user: Some(bot.resource_name()), ..LockTarget::default() };
        self.refuse(shelf, txn, caller, lock_of(bot), target, &format!("the bot {bot} was removed"))
    }

    fn refuse(
        &mut self,
        shelf: Shelf<'_>,
        txn: Txn,
        caller: &Caller,
        name: String,
        target: LockTarget,
        removed: &str,
    ) -> Result<Txn, Problem> {
        // All of one step end together.
        let until = match self.until {
            Some(until) => until,
            None => last_end(shelf.catalog.now())?,
        };
        let metadata = Metadata {
            name: name.clone(),
            description: format!("set by auth until the last certificate has ended: {removed}"),
            ..Metadata::default()
        };
        let spec = LockSpec { target, message: removed.to_owned(), expires: Some(until) };
        let lock = Resource::Lock(Lock { metadata, spec });
        let record = shelf.catalog.audit.record(caller.describe(event(Action::Create, &lock)));
        self.add(Self { locks: vec![name], until: Some(until) });
        Ok(shelf.put(txn, &lock)?.event(record))
    }
}

/// When nothing is valid any more that a bot has got by now.
fn last_end(now: Timestamp) -> Result<Timestamp, Problem> {
    let longest = SignedDuration::try_from(lifetime::LONGEST_OF_BOT).unwrap_or(SignedDuration::MAX);
    let until = now.checked_add(longest).and_then(|until| until.checked_add(SLACK));
    until.map_err(|error| refusal::internal("a lock would never end", error))
}

/// The refusal to make a bot whose name is locked since another one of that name was removed.
pub(super) fn refuse_name(bot: &BotName, lock: &Lock) -> Problem {
    let until = lock.spec.expires.map(|until| until.to_string()).unwrap_or_default();
    let reason = format!(
        "a bot \"{bot}\" with many instances was removed, and until {until} certificates of that name are refused"
    );
    Problem::new(Class::Precondition, "name_locked", reason).hint(format!(
        "take another name; or, if no certificate of the old bot is in wrong hands, tctl rm lock/{}",
        lock_of(bot)
    ))
}

/// The name of the lock of a bot of many instances that was removed.
pub(super) fn lock_of(bot: &BotName) -> String {
    format!("removed-bot-{bot}")
}

#[cfg(test)]
mod tests {
    use super::Leftover;
    use jiff::Timestamp;

    #[test]
    fn each_lock_is_told_once_with_the_latest_end() {
        let step = |lock: &str, second| Leftover {
            locks: vec![lock.to_owned()],
            until: Timestamp::from_second(second).ok(),
        };
        let mut all = Leftover::default();
        assert_eq!(all.told_until(), "");
        [step("a", 2), step("b", 1), step("a", 3)].into_iter().for_each(|step| all.add(step));
        assert_eq!(all.locks, ["a", "b"]);
        assert_eq!(all.told_until(), "1970-01-01T00:00:03Z");
    }
}
