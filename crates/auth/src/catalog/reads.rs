//! Reads for one decision, and the promise that they were still true when it was committed.

use super::{Catalog, Found, View, layout, record};
use access::rbac::RoleSet;
use access::rbac::lock::{LockSubject, in_force};
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec};
use access::resource::{Bot, Kind, Lock, Resource, Role, User};
use access::{BotName, RoleName, Traits, UserName};
use api::status::{Class, Problem};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Conflict, Entry, Expect, Key, Revision, Txn};

/// Reads for one decision. The first try is made from the view; if its result is a refusal, or does not hold when it
/// is committed, the next try reads the store.
pub struct Reads<'a> {
    catalog: &'a Catalog,
    /// `None`: read the store.
    view: Option<Arc<View>>,
    seen: BTreeMap<Key, Expect>,
    tries: u32,
}

/// More than this many conflicts in a row mean that somebody changes the same things without pause.
const MAX_TRIES: u32 = 16;

/// A user's roles, resolved: what [`Reads::roles_of`] gives.
pub struct RolesOf {
    /// Each role.
    pub roles: Vec<Arc<Role>>,
    /// The same, compiled.
    pub set: RoleSet,
}

impl<'a> Reads<'a> {
    /// For a new decision.
    pub fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, view: Some(catalog.view()), seen: BTreeMap::new(), tries: 0 }
    }

    /// The state behind the reads.
    pub fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// A role; the role of a bot follows from the bot.
    pub async fn role(&mut self, name: &RoleName) -> Result<Option<Arc<Role>>, Problem> {
        let read = |found| match found {
            Resource::Role(role) => Some(Arc::from(role)),
            _ => None,
        };
        let stored = self.one(Kind::Role, name.as_str(), |view| &view.roles, read).await?;
        match (stored, bot_name(name.as_str())) {
            (Some(role), _) => Ok(Some(role)),
            (None, Some(bot)) => Ok(self.bot(&bot).await?.map(|bot| Arc::new(access::bot::role_of(&bot)))),
            (None, None) => Ok(None),
        }
    }

    /// A user; the user of a bot follows from the bot.
    pub async fn user(&mut self, name: &UserName) -> Result<Option<Arc<User>>, Problem> {
        let read = |found| match found {
            Resource::User(user) => Some(Arc::new(user)),
            _ => None,
        };
        let stored = self.one(Kind::User, name.as_str(), |view| &view.users, read).await?;
        match (stored, bot_name(name.as_str())) {
            (Some(user), _) => Ok(Some(user)),
            (None, Some(bot)) => Ok(self.bot(&bot).await?.map(|bot| Arc::new(access::bot::user_of(&bot)))),
            (None, None) => Ok(None),
        }
    }

    /// A bot.
    pub async fn bot(&mut self, name: &BotName) -> Result<Option<Arc<Bot>>, Problem> {
        let read = |found| match found {
            Resource::Bot(bot) => Some(Arc::new(bot)),
            _ => None,
        };
        self.one(Kind::Bot, name.as_str(), |view| &view.bots, read).await
    }

    /// Roles by name with the traits that fill them. One that is missing fails the whole, because leaving it out
    /// could leave out what it denies.
    pub async fn roles_of(
        &mut self,
        user: &UserName,
        names: &[RoleName],
        traits: &Traits,
    ) -> Result<RolesOf, Problem> {
        let mut roles = Vec::with_capacity(names.len());
        for name in names {
            let Some(role) = self.role(name).await? else {
                return Err(Problem::new(
                    Class::Precondition,
                    "role_not_found",
                    format!("role \"{name}\" of user \"{user}\" not found"),
                )
                .hint("create it with tctl create -f"));
            };
            roles.push(role);
        }
        let set = RoleSet::new(user, roles.iter().map(Arc::as_ref), traits);
        Ok(RolesOf { roles, set })
    }

    /// The refusal of a lock that hits the subject, if there is one. The commit fails if a lock was added since.
    pub async fn refuse_locked(&mut self, subject: &LockSubject<'_>) -> Result<(), Problem> {
        let now = self.catalog.now();
        let hit = match self.view()? {
            Some(view) => {
                let epoch = view.lock_epoch.map_or(Expect::Absent, Expect::Revision);
                self.seen.insert(layout::lock_epoch(), epoch);
                in_force(view.locks.values().map(|found| &*found.value), subject, now).map(denial)
            }
            None => {
                // The epoch first: a lock that comes between the two reads changes it.
                let epoch = self.catalog.read(&layout::lock_epoch()).await?;
                let epoch = epoch.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
                self.seen.insert(layout::lock_epoch(), epoch);
                let locks = self.catalog.all(layout::kind(Kind::Lock)).await?;
                let locks: Vec<Lock> = locks.iter().map(lock).collect::<Result<_, _>>()?;
                in_force(&locks, subject, now).map(denial)
            }
        };
        hit.map_or(Ok(()), Err)
    }

    /// Settings of authentication. Not guarded: a change of defaults need not stop what is under way.
    pub fn auth_preference(&self) -> AuthPreferenceSpec {
        let view = self.catalog.view();
        view.auth_preference.as_ref().map(|found| found.value.spec.clone()).unwrap_or_default()
    }

    /// Settings of the network.
    pub fn networking(&self) -> NetworkingSpec {
        let view = self.catalog.view();
        view.networking.as_ref().map(|found| found.value.spec.clone()).unwrap_or_default()
    }

    /// What the decision rests on beside typed reads.
    pub fn expect(&mut self, key: Key, expect: Expect) {
        self.seen.insert(key, expect);
    }

    /// After a refusal: whether to decide again, because it was made from the view, which may be old.
    pub fn try_fresh(&mut self) -> bool {
        let was_cached = self.view.take().is_some();
        self.seen.clear();
        was_cached
    }

    /// Commits the decision if all that it was made from still holds. `None`: decide again.
    pub async fn commit(&mut self, mut txn: Txn) -> Result<Option<Revision>, Problem> {
        for (key, expect) in std::mem::take(&mut self.seen) {
            if !txn.conditions.iter().any(|(known, _)| *known == key) {
                txn.conditions.push((key, expect));
            }
        }
        match self.catalog.commit(txn).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(conflict) => self.again(&conflict).map(|()| None),
        }
    }

    fn again(&mut self, conflict: &Conflict) -> Result<(), Problem> {
        self.view = None;
        self.tries += 1;
        match self.tries < MAX_TRIES {
            true => Ok(()),
            false => {
                Err(Problem::new(Class::Conflict, "too_many_changes", conflict.to_string()).hint("try again"))
            }
        }
    }

    fn view(&self) -> Result<Option<Arc<View>>, Problem> {
        let Some(view) = &self.view else { return Ok(None) };
        view.intact()?;
        Ok(Some(view.clone()))
    }

    /// One from the view, or from the store.
    async fn one<T>(
        &mut self,
        kind: Kind,
        name: &str,
        all: fn(&View) -> &BTreeMap<String, Found<T>>,
        read: fn(Resource) -> Option<Arc<T>>,
    ) -> Result<Option<Arc<T>>, Problem> {
        let Some(view) = self.view()? else { return Ok(self.fetch(kind, name).await?.and_then(read)) };
        let found = all(&view).get(name);
        let expect = found.map_or(Expect::Absent, |found| Expect::Revision(found.revision));
        self.seen.insert(place(kind, name)?, expect);
        Ok(found.map(|found| found.value.clone()))
    }

    async fn fetch(&mut self, kind: Kind, name: &str) -> Result<Option<Resource>, Problem> {
        let key = place(kind, name)?;
        let entry = self.catalog.read(&key).await?;
        let expect = entry.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        self.seen.insert(key, expect);
        Ok(entry.map(|entry| record::decode(&entry)).transpose()?)
    }
}

fn place(kind: Kind, name: &str) -> Result<Key, Problem> {
    layout::resource(kind, name)
        .map_err(|error| Problem::new(Class::Invalid, "name_invalid", format!("{kind}: {error}")))
}

fn lock(entry: &Entry) -> Result<Lock, Problem> {
    match record::decode(entry)? {
        Resource::Lock(lock) => Ok(lock),
        other => {
            Err(Problem::new(Class::Internal, "store_damaged", format!("a {} among locks", other.kind())))
        }
    }
}

fn denial(lock: &Lock) -> Problem {
    crate::refusal::denied(&lock.into())
}

fn bot_name(name: &str) -> Option<BotName> {
    BotName::new(name.strip_prefix(access::bot::PREFIX)?).ok()
}
