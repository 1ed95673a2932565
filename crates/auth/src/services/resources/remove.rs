//! Removing resources.

use super::rules;
use super::{Action, event};
use crate::audit::{Event, kind as events};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::enrol::host::Host;
use crate::enrol::host_names::{Owner, owned};
use crate::refusal;
use crate::services::bots::Leftover;
use crate::services::change::Change;
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, place, spoken};
use access::HostId;
use access::rbac::Verb;
use access::resource::{Kind, Resource};
use api::status::{Class, Problem};
use async_trait::async_trait;
use std::collections::BTreeSet;
use store::{Expect, Txn};

/// A resource to be removed; a setting goes back to its defaults. Bots are removed by their own service.
pub(super) struct Remove<'a> {
    pub shelf: Shelf<'a>,
    pub kind: Kind,
    pub name: &'a str,
}

#[async_trait]
impl Change for Remove<'_> {
    /// What refuses the certificates of a bot instance.
    type Done = Leftover;

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Leftover), Problem> {
        let Self { shelf, kind, name } = *self;
        if kind == Kind::CertAuthority {
            let reason = "certificate authorities cannot be deleted";
            return Err(Problem::new(Class::Invalid, "not_supported", reason));
        }
        if kind == Kind::Node {
            return self.host(reads, rights, caller).await.map(|txn| (txn, Leftover::default()));
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
        Ok((txn.event(record), left))
    }
}

impl Remove<'_> {
    /// A node with all that it is known by: its enrolment, so that it cannot renew its certificate, and its names, so
    /// that others may have them. A proxy is removed in the same way, by its id.
    async fn host(&self, reads: &mut Reads<'_>, rights: &Rights, caller: &Caller) -> Result<Txn, Problem> {
        let Self { shelf, kind, name } = *self;
        let node = self.current(reads).await?;
        rights.may(Verb::Delete, kind.as_str(), node.as_ref().map(Resource::metadata))?;
        let id: Option<HostId> = name.parse().ok();
        let enrolled = match id {
            Some(id) => shelf.catalog.all(layout::host_roles(id)).await?,
            None => vec![],
        };
        if node.is_none() && enrolled.is_empty() {
            return Err(refusal::not_found(kind, name));
        }
        let mut gone = BTreeSet::new();
        if node.is_some() {
            gone.insert(place(kind, name)?);
        }
        for entry in enrolled {
            reads.expect(entry.key.clone(), Expect::Revision(entry.revision));
            let host = Host::read(&entry)?;
            for host_name in owned(&host.names) {
                let Ok(key) = layout::host_name(host.role, host_name) else { continue };
                let Some(found) = shelf.catalog.read(&key).await? else { continue };
                if Some(Owner::read(&found)?.id) == id {
                    reads.expect(key.clone(), Expect::Revision(found.revision));
                    gone.insert(key);
                }
            }
            gone.insert(entry.key);
        }
        let event = Event::new(events::NODE_DELETE).name(name);
        let txn = gone.into_iter().fold(Txn::new(), Txn::delete);
        Ok(txn.event(shelf.catalog.audit.record(caller.describe(event))))
    }

    async fn current(&self, reads: &mut Reads<'_>) -> Result<Option<Resource>, Problem> {
        let stored = self.shelf.read_for(reads, self.kind, self.name).await?;
        Ok(stored.or_else(|| super::look::default(self.kind)))
    }
}
