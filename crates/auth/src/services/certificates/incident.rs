//! One identity is in use twice: that instance or host is locked, with the token that both join with, and nothing else. The lock
//! says where each of the two was seen, for whoever lifts it.

use crate::audit::{Event, UserKind, kind, masked};
use crate::caller::Caller;
use crate::catalog::{layout, record};
use crate::core::Core;
use crate::pacing::Spender;
use crate::refusal;
use access::rbac::lock::is_in_force;
use access::resource::lock::{LockSpec, LockTarget};
use access::resource::{Kind, Lock, Metadata, Resource};
use access::{BotName, HostId, InstanceId, SystemRole};
use api::status::{Class, Problem};
use jiff::Timestamp;
use std::collections::BTreeMap;
use store::{Entry, Expect, Key, Revision, Txn};

/// What was seen.
pub struct Incident<'a> {
    /// The service.
    pub core: &'a Core,
    /// One of the two.
    pub caller: &'a Caller,
    /// Whose identity it is.
    pub whose: Whose<'a>,
    /// The token that both join with, where a key is bound to it.
    pub join_token: Option<&'a str>,
    /// Where the other one was seen.
    pub other_addr: String,
    /// The number that the caller has.
    pub presented: u64,
    /// The number in force.
    pub stored: u64,
    /// In words.
    pub mismatch: String,
    /// What it was judged by; a lock is set only if that still holds.
    pub judged: (Key, Revision),
}

/// Who both are.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// An instance of a bot.
    Bot(&'a BotName, InstanceId),
    /// A host, in one role.
    Host(HostId, SystemRole),
}

impl std::fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bot(bot, _) => write!(f, "bot {bot}"),
            Self::Host(id, role) => write!(f, "{} {id}", role.as_str().to_ascii_lowercase()),
        }
    }
}

/// Whether a lock that is there does what `wanted` is to do.
fn is_that(present: &Entry, wanted: &Resource, now: Timestamp) -> bool {
    match (record::decode(present), wanted) {
        (Ok(Resource::Lock(present)), Resource::Lock(wanted)) => {
            present.spec.target == wanted.spec.target && is_in_force(&present, now)
        }
        _ => false,
    }
}

impl Incident<'_> {
    /// Locks the instance and records who was seen where, in one transaction. Gives the answer to the caller.
    pub async fn lock(&self) -> Problem {
        match self.try_lock().await {
            Ok(()) => {
                let hint = format!("this identity is in use in two places: {}", self.way_out());
                Problem::new(Class::Denied, "generation_mismatch", self.mismatch.clone()).hint(hint)
            }
            Err(problem) => problem,
        }
    }

    async fn try_lock(&self) -> Result<(), Problem> {
        let Self { core, caller, .. } = self;
        let name = self.lock_name();
        let key = layout::resource(Kind::Lock, &name)
            .map_err(|error| refusal::internal("a lock has no place", error))?;
        let event = self.event();
        let lock = self.lock_of(&name);
        let present = core.catalog.read(&key).await?;
        if present.as_ref().is_some_and(|present| is_that(present, &lock, core.now())) {
            let who = caller.spender().or_else(|| self.join_token.map(|token| Spender::Token(masked(token))));
            // It is locked already, and whoever it is may go on trying.
            return core
                .catalog
                .tell_refusal(who, event)
                .await
                .map_err(|error| crate::catalog::problem(&error));
        }
        tracing::warn!(
            whose = %self.whose, lock = name, here = caller.name(), before = self.other_addr,
            mismatch = self.mismatch, "an identity is in use twice; it is locked"
        );
        // One of that name that has ended, or that hits somebody else, keeps nobody out.
        let expect = present.map_or(Expect::Absent, |present| Expect::Revision(present.revision));
        let created = caller.locate(Event::new(kind::LOCK_CREATED)).name(&name).with("lock", lock.to_json());
        let (judged, revision) = &self.judged;
        let txn = Txn::new()
            .expect(judged.clone(), Expect::Revision(*revision))
            .expect(key.clone(), expect)
            .put(layout::lock_epoch(), "")
            .event(core.audit().record(event))
            .event(core.audit().record(created.user("auth", UserKind::Bot)));
        match core.catalog.commit(record::put(txn, key, &lock)).await? {
            Ok(_) => {
                core.metrics.incident();
                Ok(())
            }
            // The other one was faster, with a renewal or with this very lock: the caller asks again and is judged anew.
            Err(_) => Err(Problem::new(
                Class::Conflict,
                "renewal_raced",
                "another renewal of this instance is under way",
            )
            .hint("try again")),
        }
    }

    fn lock_name(&self) -> String {
        match self.whose {
            Whose::Bot(_, instance) => lock_name(instance),
            Whose::Host(id, _) => format!("host-{id}"),
        }
    }

    /// What a person has to do, in this order: with both copies running, the next renewal would lock the instance again.
    fn way_out(&self) -> String {
        let again = match self.join_token {
            Some(token) => format!("a new key, once token {token} was removed and made again"),
            None => "a new token from tctl tokens add".to_owned(),
        };
        match self.whose {
            // Unlocking tells the rest.
            Whose::Bot(bot, instance) => format!(
                "stop the other copy, then run tctl bots instances unlock {bot}/{instance}, which says how both go on"
            ),
            Whose::Host(..) => format!(
                "stop the other copy first; then see tctl get locks, remove this one with tctl rm lock/{}, and join the copy \
                 that stays with {again}",
                self.lock_name()
            ),
        }
    }

    fn lock_of(&self, name: &str) -> Resource {
        let mut target =
            LockTarget { join_token: self.join_token.map(str::to_owned), ..LockTarget::default() };
        match self.whose {
            Whose::Bot(_, instance) => target.bot_instance_id = Some(instance.to_string()),
            Whose::Host(id, _) => target.server_id = Some(id.to_string()),
        }
        let (mismatch, whose) = (&self.mismatch, self.whose);
        let message =
            format!("{mismatch}: an identity of {whose} is in use in two places; {}", self.way_out());
        let metadata = Metadata {
            name: name.to_owned(),
            description: format!("set by auth: {whose} was seen twice"),
            labels: self.sightings().labels(),
            ..Metadata::default()
        };
        Resource::Lock(Lock { metadata, spec: LockSpec { target, message, expires: None } })
    }

    fn sightings(&self) -> Sightings {
        let here = self.caller.addr.map(|addr| addr.to_string()).unwrap_or_default();
        Sightings {
            ahead: Sighting { addr: self.other_addr.clone(), generation: self.stored },
            behind: Sighting { addr: here, generation: self.presented },
        }
    }

    fn event(&self) -> Event {
        let event = self.caller.describe(Event::new(kind::CERT_GENERATION_MISMATCH));
        let event = match self.whose {
            Whose::Bot(bot, instance) => {
                event.with("bot_name", bot.as_str()).with("bot_instance_id", instance.to_string())
            }
            Whose::Host(id, role) => event.with("host_id", id.to_string()).with("role", role.as_str()),
        };
        let event = event
            .with("generation", self.presented)
            .with("stored_generation", self.stored)
            .with("other_addr", self.other_addr.as_str());
        let event = match self.join_token {
            Some(token) => event.with("token_name", token),
            None => event,
        };
        event.failed(&self.mismatch)
    }
}

/// The name of the lock of an instance that was seen twice.
pub fn lock_name(instance: InstanceId) -> String {
    format!("bot-instance-{instance}")
}

/// Where one of two copies was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// As it was connected; empty where that is not known.
    pub addr: String,
    /// What it showed: its generation, or how often its key was used to join.
    pub generation: u64,
}

/// Where both were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    /// Has what is in force.
    pub ahead: Sighting,
    /// Has what was in force before.
    pub behind: Sighting,
}

const AHEAD_AT: &str = "postern/ahead-at";
const AHEAD: &str = "postern/ahead-generation";
const BEHIND_AT: &str = "postern/behind-at";
const BEHIND: &str = "postern/behind-generation";

impl Sightings {
    /// As the lock has them.
    fn labels(&self) -> BTreeMap<String, String> {
        let Self { ahead, behind } = self;
        let labels = [
            (AHEAD_AT, ahead.addr.clone()),
            (AHEAD, ahead.generation.to_string()),
            (BEHIND_AT, behind.addr.clone()),
            (BEHIND, behind.generation.to_string()),
        ];
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What a lock says; `None` for one that was not set here, or before locks said it.
    pub fn of(lock: &Lock) -> Option<Self> {
        let label = |name: &str| lock.metadata.labels.get(name);
        let sighting = |at, generation| {
            Some(Sighting { addr: label(at)?.clone(), generation: label(generation)?.parse().ok()? })
        };
        Some(Self { ahead: sighting(AHEAD_AT, AHEAD)?, behind: sighting(BEHIND_AT, BEHIND)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Sighting, Sightings};
    use access::resource::lock::{LockSpec, LockTarget};
    use access::resource::{Lock, Metadata};

    #[test]
    fn a_lock_says_where_both_were_seen() {
        let sighting = |addr: &str, generation| Sighting { addr: addr.to_owned(), generation };
        let sightings = Sightings { ahead: sighting("192.0.2.1:4000", 7), behind: sighting("", 6) };
        let metadata = Metadata { labels: sightings.labels(), ..Metadata::default() };
        let spec = LockSpec { target: LockTarget::default(), message: String::new(), expires: None };
        let mut lock = Lock { metadata, spec };
        assert_eq!(Sightings::of(&lock), Some(sightings));
        lock.metadata.labels.remove(super::BEHIND);
        assert_eq!(Sightings::of(&lock), None);
    }
}
