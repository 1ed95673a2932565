//! A bot's instance as it is stored: the resource that people see, its lineage, and the use of a token it came from.

use super::lineage::{Generation, Lineage};
use crate::catalog::layout;
use crate::catalog::record::Damaged;
use access::resource::bot::{Authentication, BotInstanceSpec, BotInstanceStatus};
use access::resource::token::JoinMethod;
use access::resource::{BotInstance, Metadata, Resource};
use access::{BotName, InstanceId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Entry, Key, Txn};

/// How long an instance outlives its last certificate.
const GRACE: SignedDuration = SignedDuration::from_mins(5);
/// Authentications and heartbeats that are kept, the first included (fact sheet, section 4.7).
const KEPT: usize = 10;

/// One instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// What people see.
    pub resource: BotInstance,
    /// Its generations.
    pub lineage: Lineage,
    /// Where the use of its token is remembered, until it has renewed once.
    pub claim: Option<Key>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    resource: Resource,
    lineage: Lineage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
}

/// One authentication, as it is remembered.
pub struct Seen<'a> {
    /// When.
    pub at: Timestamp,
    /// By which method.
    pub method: JoinMethod,
    /// The token's name as it may be shown, for joins.
    pub token: Option<&'a str>,
    /// From where.
    pub from: String,
}

impl Instance {
    /// Just joined.
    pub fn joined(
        bot: &BotName,
        id: InstanceId,
        first: (&str, Timestamp),
        seen: &Seen<'_>,
        claim: Option<Key>,
    ) -> Self {
        let (key, expires) = first;
        let name = format!("{bot}/{id}");
        let mut instance = Self {
            resource: BotInstance {
                metadata: Metadata { name, ..Metadata::default() },
                spec: BotInstanceSpec { bot_name: bot.clone(), instance_id: id },
                status: BotInstanceStatus::default(),
            },
            lineage: Lineage::first(key, expires),
            claim,
        };
        instance.remember(seen);
        instance
    }

    /// From the store.
    pub fn read(entry: &Entry) -> Result<Self, Damaged> {
        let damaged = |reason: String| Damaged { key: entry.key.clone(), reason };
        let stored: Stored =
            serde_json::from_slice(&entry.value).map_err(|error| damaged(error.to_string()))?;
        let Stored { resource: Resource::BotInstance(mut resource), lineage, claim } = stored else {
            return Err(damaged("it is no bot instance".to_owned()));
        };
        let claim = claim.map(|claim| Key::new(&claim)).transpose();
        let claim = claim.map_err(|error| damaged(error.to_string()))?;
        resource.metadata.revision = Some(entry.revision.to_string());
        resource.metadata.expires = entry.expires;
        Ok(Self { resource, lineage, claim })
    }

    /// Writes it; it vanishes a little after its last certificate has ended.
    pub fn put(&self, txn: Txn) -> Txn {
        let mut resource = self.resource.clone();
        (resource.metadata.revision, resource.metadata.expires) = (None, None);
        let claim = self.claim.as_ref().map(|claim| claim.as_str().to_owned());
        let stored =
            Stored { resource: Resource::BotInstance(resource), lineage: self.lineage.clone(), claim };
        let text = serde_json::to_string(&stored).expect("an instance is texts, numbers and lists");
        txn.put_until(self.key(), text, self.ends())
    }

    /// Where it is stored.
    pub fn key(&self) -> Key {
        layout::instance(&self.resource.spec.bot_name, self.resource.spec.instance_id)
    }

    /// The address of the last authentication.
    pub fn last_address(&self) -> &str {
        let last = self.resource.status.latest_authentications.last();
        last.map_or("", |last| last.remote_addr.as_str())
    }

    /// Adds an authentication with the newest generation; one that was repeated takes the place of the first try.
    pub fn remember(&mut self, seen: &Seen<'_>) {
        let Generation { number, key, .. } = self.lineage.newest().clone();
        let entry = Authentication {
            authenticated_at: seen.at,
            join_method: seen.method.as_str().to_owned(),
            join_token: seen.token.unwrap_or_default().to_owned(),
            public_key: key,
            generation: number,
            remote_addr: seen.from.clone(),
        };
        let status = &mut self.resource.status;
        if status.latest_authentications.last().is_some_and(|last| last.generation == number) {
            status.latest_authentications.pop();
        }
        status.initial_authentication.get_or_insert_with(|| entry.clone());
        status.latest_authentications.push(entry);
        let surplus = status.latest_authentications.len().saturating_sub(KEPT);
        status.latest_authentications.drain(..surplus);
    }

    /// Adds what the agent says of itself.
    pub fn report(&mut self, heartbeat: access::resource::bot::Heartbeat) {
        let status = &mut self.resource.status;
        // How services were is of no interest; records stay small.
        let older = status.initial_heartbeat.iter_mut().chain(&mut status.latest_heartbeats);
        older.for_each(|heartbeat| heartbeat.services.clear());
        status.initial_heartbeat.get_or_insert_with(|| access::resource::bot::Heartbeat {
            services: Vec::new(),
            ..heartbeat.clone()
        });
        status.latest_heartbeats.push(heartbeat);
        let surplus = status.latest_heartbeats.len().saturating_sub(KEPT);
        status.latest_heartbeats.drain(..surplus);
    }

    fn ends(&self) -> Timestamp {
        let confirmed = self.lineage.confirmed().expires;
        self.lineage.newest().expires.max(confirmed) + GRACE
    }
}
