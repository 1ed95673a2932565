//! Everything that decisions are made from, in memory, as of one revision.
//!
//! A view may be a few milliseconds old. Who decides by it and must be right commits under the condition that what
//! was used is unchanged ([`super::Reads`]).

use super::layout;
use super::record::{self, Damaged};
use access::resource::{AuthPreference, Bot, Lock, NetworkingConfig, RecordingConfig, Resource, Role, User};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Change, Entry, Event, Key, Revision};

/// A value and the revision at which it was written.
#[derive(Debug)]
pub struct Found<T> {
    /// The value.
    pub value: Arc<T>,
    /// What the store must still have for the value to be true.
    pub revision: Revision,
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), revision: self.revision }
    }
}

/// By name.
pub type Named<T> = Arc<BTreeMap<String, Found<T>>>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// As of which revision.
    pub revision: Revision,
    /// Roles, without those that stand for bots.
    pub roles: Named<Role>,
    /// Users, without those that stand for bots.
    pub users: Named<User>,
    /// Bots.
    pub bots: Named<Bot>,
    /// Locks, in force or not.
    pub locks: Named<Lock>,
    /// See [`layout::lock_epoch`].
    pub lock_epoch: Option<Revision>,
    /// The setting, where it is stored.
    pub auth_preference: Option<Found<AuthPreference>>,
    /// The setting, where it is stored.
    pub networking: Option<Found<NetworkingConfig>>,
    /// The setting, where it is stored.
    pub recording: Option<Found<RecordingConfig>>,
    /// What could not be read. While there is any, nothing is decided.
    damaged: Arc<BTreeMap<Key, Damaged>>,
}

impl View {
    /// Of nothing, at a revision.
    pub fn at(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The first thing that could not be read, if there is one.
    pub fn intact(&self) -> Result<(), Damaged> {
        self.damaged.values().next().map_or(Ok(()), |damaged| Err(damaged.clone()))
    }

    /// Takes in what one transaction did.
    pub fn apply(&mut self, change: &Change) {
        for event in &change.events {
            match event {
                Event::Put(entry) => self.put(entry),
                Event::Delete { key, .. } => self.remove(key),
            }
        }
        self.revision = change.revision;
    }

    /// Takes in an entry.
    pub fn put(&mut self, entry: &Entry) {
        if entry.key == layout::lock_epoch() {
            self.lock_epoch = Some(entry.revision);
            return;
        }
        match record::decode(entry) {
            Ok(resource) => {
                self.mend(&entry.key);
                self.keep(resource, entry.revision);
            }
            Err(damaged) => {
                tracing::error!(key = %damaged.key, reason = damaged.reason, "a stored resource cannot be read");
                Arc::make_mut(&mut self.damaged).insert(entry.key.clone(), damaged);
            }
        }
    }

    fn keep(&mut self, resource: Resource, revision: Revision) {
        fn named<T>(map: &mut Named<T>, name: &str, value: T, revision: Revision) {
            let found = Found { value: Arc::new(value), revision };
            Arc::make_mut(map).insert(name.to_owned(), found);
        }
        let name = resource.name().to_owned();
        match resource {
            Resource::Role(role) => named(&mut self.roles, &name, *role, revision),
            Resource::User(user) => named(&mut self.users, &name, user, revision),
            Resource::Bot(bot) => named(&mut self.bots, &name, bot, revision),
            Resource::Lock(lock) => named(&mut self.locks, &name, lock, revision),
            Resource::AuthPreference(value) => {
                self.auth_preference = Some(Found { value: value.into(), revision })
            }
            Resource::NetworkingConfig(value) => {
                self.networking = Some(Found { value: value.into(), revision })
            }
            Resource::RecordingConfig(value) => {
                self.recording = Some(Found { value: value.into(), revision })
            }
            Resource::BotInstance(_)
            | Resource::Token(_)
            | Resource::Node(_)
            | Resource::CertAuthority(_) => {}
        }
    }

    fn remove(&mut self, key: &Key) {
        use access::resource::Kind;
        self.mend(key);
        let (name, under) = (key.name(), |kind| key.is_under(&layout::kind(kind)));
        if under(Kind::Role) {
            Arc::make_mut(&mut self.roles).remove(name);
        } else if under(Kind::User) {
            Arc::make_mut(&mut self.users).remove(name);
        } else if under(Kind::Bot) {
            Arc::make_mut(&mut self.bots).remove(name);
        } else if under(Kind::Lock) {
            Arc::make_mut(&mut self.locks).remove(name);
        } else if under(Kind::ClusterAuthPreference) {
            self.auth_preference = None;
        } else if under(Kind::ClusterNetworkingConfig) {
            self.networking = None;
        } else if under(Kind::SessionRecordingConfig) {
            self.recording = None;
        }
    }

    fn mend(&mut self, key: &Key) {
        if self.damaged.contains_key(key) {
            Arc::make_mut(&mut self.damaged).remove(key);
        }
    }
}
