//! Removing resources.

use super::rules;
use super::{Action, event};
use crate::audit::{Event, kind as events};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::enrol::host_names;
use crate::refusal;
use crate::services::bots::Leftover;
use crate::services::change::{Change, make};
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, place, spoken};
use access::HostId;
use access::rbac::Verb;
use access::resource::{Kind, Resource};
use api::status::{Class, Problem};
use async_trait::async_trait;
use std::collections::BTreeSet;
use store::{Expect, Txn};

/// How many names of a host go in one transaction, which has room for a few more writes.
const BATCH: usize = 100;

/// Removes a resource, in as many transactions as it takes; the last one takes the resource itself. Gives what refuses what it
/// has got.
pub(super) async fn remove(
    shelf: Shelf<'_>,
    caller: &Caller,
    kind: Kind,
    name: &str,
) -> Result<Leftover, Problem> {
    let change = Remove { shelf, kind, name };
    let mut all = Leftover::default();
    loop {
        let ((left, step), _) = make(shelf.catalog, caller, &change).await?;
        all.add(step);
        if left == Left::Nothing {
            return Ok(all);
        }
    }
}

/// Whether a removal is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    More,
    Nothing,
}

/// A resource to be removed; a setting goes back to its defaults. Bots are removed by their own service.
struct Remove<'a> {
    shelf: Shelf<'a>,
    kind: Kind,
    name: &'a str,
}

#[async_trait]
impl Change for Remove<'_> {
    /// Whether that was all, and what refuses the certificates of a bot instance.
    type Done = (Left, Leftover);

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem> {
        let Self { shelf, kind, name } = *self;
        if kind == Kind::CertAuthority {
            let reason = "certificate authorities cannot be deleted";
            return Err(Problem::new(Class::Invalid, "not_supported", reason));
        }
        if kind == Kind::Node {
            let (txn, left) = self.host(reads, rights, caller).await?;
            return Ok((txn, (left, Leftover::default())));
        }
        let Some(current) = self.current(reads).await? else {
            rights.check(Verb::Delete, kind.as_str())?;
            if matches!(kind, Kind::Role | Kind::User) {
                rules::belongs_to_bot(reads, kind, name).await?;
            }
            return Err(refusal::not_found(kind, &spoken(kind, name)));
        };
        rights.may(Verb::Delete, kind.as_str(), Some(current.metadata()))?;
        rules::not_from_file(&current)?;
        if let Resource::Role(role) = &current {
            rules::removable(shelf, reads, &role.name).await?;
        }
        let mut txn = Txn::new().delete(place(kind, name)?);
        if kind == Kind::Lock {
            txn = txn.put(layout::lock_epoch(), "");
        }
        let mut left = Leftover::default();
        if let Resource::BotInstance(instance) = &current {
            let whose = (&instance.spec.bot_name, instance.spec.instance_id);
            txn = left.refuse_instance(shelf, txn, caller, whose)?;
        }
        let record = shelf.catalog.audit.record(caller.describe(event(Action::Delete, &current)));
        Ok((txn.event(record), (Left::Nothing, left)))
    }
}

impl Remove<'_> {
    /// A node with all that it is known by: its enrolment, so that it cannot renew its certificate, and its names, so
    /// that others may have them: all that there are, also those of earlier certificates. A proxy is removed in the same way,
    /// by its id.
    async fn host(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Left), Problem> {
        let Self { shelf, kind, name } = *self;
        let node = self.current(reads).await?;
        rights.may(Verb::Delete, kind.as_str(), node.as_ref().map(Resource::metadata))?;
        let id: Option<HostId> = name.parse().ok();
        let (enrolled, mut names) = match id {
            Some(id) => {
                let enrolled = shelf.catalog.all(layout::host_roles(id)).await?;
                (enrolled, host_names::records_of(shelf.catalog, id).await?)
            }
            None => (vec![], vec![]),
        };
        if node.is_none() && enrolled.is_empty() && names.is_empty() {
            return Err(refusal::not_found(kind, name));
        }
        let event =
            caller.describe(Event::new(events::NODE_DELETE).name(name).with("removed_names", names.len()));
        let left = if names.len() > BATCH { Left::More } else { Left::Nothing };
        names.truncate(BATCH);
        let mut gone = BTreeSet::new();
        for entry in names.into_iter().chain(enrolled.into_iter().filter(|_| left == Left::Nothing)) {
            reads.expect(entry.key.clone(), Expect::Revision(entry.revision));
            gone.insert(entry.key);
        }
        if node.is_some() && left == Left::Nothing {
            gone.insert(place(kind, name)?);
        }
        let txn = gone.into_iter().fold(Txn::new(), Txn::delete);
        Ok((txn.event(shelf.catalog.audit.record(event)), left))
    }

    async fn current(&self, reads: &mut Reads<'_>) -> Result<Option<Resource>, Problem> {
        let stored = self.shelf.read_for(reads, self.kind, self.name).await?;
        Ok(stored.or_else(|| super::look::default(self.kind)))
    }
}
