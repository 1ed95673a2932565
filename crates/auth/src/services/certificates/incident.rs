//! One identity is in use twice: that instance is locked, and nothing else.

use super::Bearer;
use crate::audit::{Event, UserKind, kind};
use crate::caller::Caller;
use crate::catalog::{layout, record};
use crate::core::Core;
use crate::enrol::instance::Instance;
use crate::enrol::lineage::Mismatch;
use crate::refusal;
use access::resource::lock::{LockSpec, LockTarget};
use access::resource::{Kind, Lock, Metadata, Resource};
use api::status::{Class, Problem};
use store::{Expect, Revision, Txn};

/// Locks the instance and records who was seen where, in one transaction. Gives the answer to the caller.
pub async fn lock(
    core: &Core,
    caller: &Caller,
    bearer: &Bearer<'_>,
    instance: &Instance,
    revision: Revision,
    mismatch: Mismatch,
) -> Problem {
    match try_lock(core, caller, bearer, instance, revision, mismatch).await {
        Ok(()) => {
            let hint = format!("this identity is in use in two places: {}", way_out(bearer));
            Problem::new(Class::Denied, "generation_mismatch", mismatch.to_string()).hint(hint)
        }
        Err(problem) => problem,
    }
}

async fn try_lock(
    core: &Core,
    caller: &Caller,
    bearer: &Bearer<'_>,
    instance: &Instance,
    revision: Revision,
    mismatch: Mismatch,
) -> Result<(), Problem> {
    let name = lock_name(bearer);
    let key = layout::resource(Kind::Lock, &name)
        .map_err(|error| refusal::internal("a lock has no place", error))?;
    let event = event(caller, bearer, instance, mismatch);
    tracing::warn!(
        bot = %bearer.bot.name, instance = %bearer.bot.instance, here = caller.name(),
        before = instance.last_address(), %mismatch, "an identity is in use twice; its instance is locked"
    );
    if core.catalog.read(&key).await?.is_some() {
        core.note(event).await;
        return Ok(());
    }
    let lock = lock_of(&name, bearer, mismatch);
    let created = caller.locate(Event::new(kind::LOCK_CREATED)).name(&name).with("lock", lock.to_json());
    let txn = Txn::new()
        .expect(instance.key(), Expect::Revision(revision))
        .expect(key.clone(), Expect::Absent)
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

fn lock_name(bearer: &Bearer<'_>) -> String {
    format!("bot-instance-{}", bearer.bot.instance)
}

/// What a person has to do, in this order: with both copies running, the next renewal would lock the instance again.
fn way_out(bearer: &Bearer<'_>) -> String {
    format!(
        "stop the other copy first; then see tctl get locks, remove this one with tctl rm lock/{}, and join the copy \
         that stays with a new token from tctl bots instances add {}",
        lock_name(bearer),
        bearer.bot.name
    )
}

fn lock_of(name: &str, bearer: &Bearer<'_>, mismatch: Mismatch) -> Resource {
    let target =
        LockTarget { bot_instance_id: Some(bearer.bot.instance.to_string()), ..LockTarget::default() };
    let message = format!(
        "{mismatch}: an identity of bot {} is in use in two places, it may be stolen; {}",
        bearer.bot.name,
        way_out(bearer)
    );
    let metadata = Metadata {
        name: name.to_owned(),
        description: format!("set by auth: bot {} was seen twice", bearer.bot.name),
        ..Metadata::default()
    };
    Resource::Lock(Lock { metadata, spec: LockSpec { target, message, expires: None } })
}

fn event(caller: &Caller, bearer: &Bearer<'_>, instance: &Instance, mismatch: Mismatch) -> Event {
    let event = caller
        .describe(Event::new(kind::CERT_GENERATION_MISMATCH))
        .with("bot_name", bearer.bot.name.as_str())
        .with("bot_instance_id", bearer.bot.instance.to_string())
        .with("generation", bearer.bot.generation)
        .with("stored_generation", instance.lineage.newest().number)
        .with("other_addr", instance.last_address());
    event.failed(mismatch)
}
