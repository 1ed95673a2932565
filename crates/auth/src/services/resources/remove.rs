//! Removing resources.

use super::rules;
use super::{Action, event};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::refusal;
use crate::services::change::Change;
use crate::services::rights::Rights;
use crate::services::shelf::{Shelf, place, spoken};
use access::rbac::Verb;
use access::resource::{Kind, Resource};
use api::status::{Class, Problem};
use async_trait::async_trait;
use store::Txn;

/// A resource to be removed; a setting goes back to its defaults. Bots are removed by their own service.
pub(super) struct Remove<'a> {
    pub shelf: Shelf<'a>,
    pub kind: Kind,
    pub name: &'a str,
}

#[async_trait]
impl Change for Remove<'_> {
    type Done = ();

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, ()), Problem> {
        let Self { shelf, kind, name } = *self;
        if kind == Kind::CertAuthority {
            let reason = "certificate authorities cannot be deleted";
            return Err(Problem::new(Class::Invalid, "not_supported", reason));
        }
        let Some(current) = self.current(reads).await? else {
            rights.check(Verb::Delete, kind.as_str())?;
            if matches!(kind, Kind::Role | Kind::User) {
                rules::belongs_to_bot(reads, kind, name).await?;
            }
            return Err(refusal::not_found(kind, &spoken(kind, name)));
        };
        rights.may(Verb::Delete, kind.as_str(), Some(current.metadata()))?;
        if let Resource::Role(role) = &current {
            rules::removable(shelf, reads, &role.name).await?;
        }
        let mut txn = Txn::new().delete(place(kind, name)?);
        if kind == Kind::Lock {
            txn = txn.put(layout::lock_epoch(), "");
        }
        let record = shelf.catalog.audit.record(caller.describe(event(Action::Delete, &current)));
        Ok((txn.event(record), ()))
    }
}

impl Remove<'_> {
    async fn current(&self, reads: &mut Reads<'_>) -> Result<Option<Resource>, Problem> {
        let stored = self.shelf.read_for(reads, self.kind, self.name).await?;
        Ok(stored.or_else(|| super::look::default(self.kind)))
    }
}
