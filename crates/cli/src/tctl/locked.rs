//! Which lock refuses an instance or a server that a list shows. Whoever may not read locks sees none.

use super::session::Session;
use super::show::{name, text};
use crate::Failure;
use access::rbac::lock::{LockSubject, in_force};
use access::resource::{Bot, Kind, Lock, Resource};
use access::{BotName, InstanceId};
use api::status::Class;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The locks of the cluster, and the bots if a lock may hit them by their roles.
#[derive(Default)]
pub(super) struct Locks {
    locks: Vec<Lock>,
    bots: Vec<Bot>,
}

impl Locks {
    /// Those in the cluster now.
    pub async fn read(session: &mut Session<'_>) -> Result<Self, Failure> {
        let locks: Vec<Lock> = every(session, Kind::Lock).await?.into_iter().filter_map(lock).collect();
        let by_role = locks.iter().any(|lock| lock.spec.target.role.is_some());
        let bots = if by_role { every(session, Kind::Bot).await? } else { vec![] };
        Ok(Self { locks, bots: bots.into_iter().filter_map(bot).collect() })
    }

    /// `lock/NAME`.
    fn of_instance(&self, instance: &Value) -> Option<String> {
        let bot = BotName::new(text(instance, "/spec/bot_name")).ok()?;
        let found = self.bots.iter().find(|found| found.name == bot);
        let user = access::UserName::new(bot.resource_name()).ok()?;
        let latest = instance["status"]["latest_authentications"].as_array().and_then(|all| all.last());
        // One that is a secret is shown masked, and no lock names it.
        let token = latest.map_or("", |latest| text(latest, "/join_token"));
        self.hits(&LockSubject {
            user: Some(&user),
            roles: found.map(|bot| bot.roles.as_slice()).unwrap_or_default(),
            bot_instance_id: text(instance, "/spec/instance_id").parse::<InstanceId>().ok(),
            join_token: Some(token).filter(|token| !token.is_empty()),
            ..LockSubject::default()
        })
    }

    /// Says of an instance, as a resource, which lock refuses it: `status.locked_by`, where there is one.
    pub fn mark_instance(&self, instance: &mut Value) {
        mark(instance, self.of_instance(instance));
    }

    /// The same of a server.
    pub fn mark_node(&self, node: &mut Value) {
        mark(node, self.of_node(node));
    }

    fn of_node(&self, node: &Value) -> Option<String> {
        self.hits(&LockSubject { server_id: name(node).parse().ok(), ..LockSubject::default() })
    }

    fn hits(&self, subject: &LockSubject<'_>) -> Option<String> {
        let lock = in_force(&self.locks, subject, Timestamp::now())?;
        Some(format!("lock/{}", lock.metadata.name))
    }
}

fn mark(resource: &mut Value, lock: Option<String>) {
    let Some(lock) = lock else { return };
    match &mut resource["status"] {
        Value::Object(status) => _ = status.insert("locked_by".to_owned(), lock.into()),
        none => *none = json!({ "locked_by": lock }),
    }
}

async fn every(session: &mut Session<'_>, kind: Kind) -> Result<Vec<Value>, Failure> {
    match session.resources()?.all(kind, false).await {
        Err(failure) if failure.class == Some(Class::Denied) => Ok(vec![]),
        found => found,
    }
}

fn lock(value: Value) -> Option<Lock> {
    match Resource::from_json(value) {
        Ok(Resource::Lock(lock)) => Some(lock),
        _ => None,
    }
}

fn bot(value: Value) -> Option<Bot> {
    match Resource::from_json(value) {
        Ok(Resource::Bot(bot)) => Some(bot),
        _ => None,
    }
}
