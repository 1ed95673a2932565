//! Resources of every kind as they lie in the store: where each is, and how it is read and written there.

use crate::catalog::{Catalog, Reads, layout, record};
use crate::enrol::instance::Instance;
use crate::refusal;
use crate::tokens::Tokens;
use access::resource::token::masked;
use access::resource::{Kind, Resource};
use api::status::Problem;
use store::{Entry, Expect, Key, Txn, Write};

/// The stored resources.
#[derive(Clone, Copy)]
pub(super) struct Shelf<'a> {
    pub catalog: &'a Catalog,
    pub tokens: &'a Tokens,
}

impl Shelf<'_> {
    /// What is stored under this name.
    pub async fn read(&self, kind: Kind, name: &str) -> Result<Option<Resource>, Problem> {
        let entry = self.catalog.read(&place(kind, name)?).await?;
        entry.map(|entry| self.open(kind, &entry)).transpose()
    }

    /// The same as part of a decision that is committed only if it is still there, or still absent.
    pub async fn read_for(
        &self,
        reads: &mut Reads<'_>,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Resource>, Problem> {
        let key = place(kind, name)?;
        let entry = self.catalog.read(&key).await?;
        let found = entry.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        reads.expect(key, found);
        entry.map(|entry| self.open(kind, &entry)).transpose()
    }

    /// The resource in an entry.
    pub fn open(&self, kind: Kind, entry: &Entry) -> Result<Resource, Problem> {
        let opened = match kind {
            Kind::Token => self.tokens.open(entry).map(Resource::Token),
            Kind::BotInstance => {
                Instance::read(entry).map(|instance| Resource::BotInstance(instance.resource))
            }
            _ => record::decode(entry),
        };
        let mut resource = opened?;
        resource.metadata_mut().revision = Some(entry.revision.to_string());
        Ok(resource)
    }

    /// Adds the writing of a resource to a transaction, with what has to be written along with it.
    pub fn put(&self, txn: Txn, resource: &Resource) -> Result<Txn, Problem> {
        let key = place(resource.kind(), resource.name())?;
        Ok(match resource {
            Resource::Token(token) => self.tokens.put(txn, token),
            Resource::Lock(lock) => {
                let ends = [lock.spec.expires, lock.metadata.expires].into_iter().flatten().min();
                let text = record::encode(resource);
                let txn = with_lock_epoch(txn);
                match ends {
                    Some(end) => txn.put_until(key, text, end),
                    None => txn.put(key, text),
                }
            }
            Resource::User(_) | Resource::Bot(_) => {
                record::put(txn, key, resource).put(layout::references_epoch(), "")
            }
            _ => record::put(txn, key, resource),
        })
    }
}

/// Once, however many locks a transaction writes.
fn with_lock_epoch(txn: Txn) -> Txn {
    let epoch = layout::lock_epoch();
    match txn.writes.iter().any(|write| matches!(write, Write::Put { key, .. } if *key == epoch)) {
        true => txn,
        false => txn.put(epoch, ""),
    }
}

/// Where a resource is stored.
pub(super) fn place(kind: Kind, name: &str) -> Result<Key, Problem> {
    if let Some(single) = kind.single_name()
        && !matches!(name, "" | "default")
        && name != single
    {
        return Err(refusal::invalid(format!("there is one {kind} only, called {single}")));
    }
    match kind {
        Kind::Token if name.is_empty() => Err(refusal::invalid("the name of the token is missing")),
        Kind::Token => Ok(Tokens::key(name)),
        Kind::BotInstance if !name.contains('/') => {
            Err(refusal::invalid("invalid bot instance syntax; write BOT/UUID"))
        }
        _ => layout::resource(kind, name).map_err(|error| refusal::invalid(format!("{kind}: {error}"))),
    }
}

/// The name of a resource as it may be said; that of a token is a secret.
pub(super) fn spoken(kind: Kind, name: &str) -> String {
    if kind == Kind::Token { masked(name) } else { name.to_owned() }
}
