//! The services over a real store in a directory of its own, and callers of every sort. For tests.

use super::bots::Bots;
use super::resources::{Authorities, Resources};
use crate::audit::AuditLog;
use crate::caller::{Caller, User, Who};
use crate::catalog::Catalog;
use crate::sealing::Envelope;
use crate::tokens::Tokens;
use access::resource::CertAuthority;
use access::{InstanceId, RoleName, UserName};
use api::status::Problem;
use api::v1::resource_service_server::ResourceService;
use api::v1::{CreateRequest, DeleteRequest, GetRequest, ListRequest, UpsertRequest};
use identity::key::{PublicKey, SubjectKey};
use identity::{BotIdentity, UserIdentity};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Engine, EventFilter, SqliteOptions, SqliteStore, SystemClock};
use tonic::Request;

/// The services and what is behind them.
pub(super) struct Bench {
    pub catalog: Arc<Catalog>,
    pub resources: Resources,
    pub bots: Bots,
    _directory: tempfile::TempDir,
}

/// Root on the machine.
pub(super) fn root() -> Caller {
    Caller { who: Who::LocalAdmin { uid: 0 }, addr: None }
}

/// A person with these roles.
pub(super) fn person(name: &str, roles: &[&str]) -> Caller {
    Caller { who: Who::User(Box::new(user(name, roles, None, key()))), addr: None }
}

/// The own identity of a bot's instance.
pub(super) fn bot(name: &str, instance: InstanceId, generation: u64, key: PublicKey) -> Caller {
    let identity = BotIdentity {
        name: access::BotName::new(name).expect("a name"),
        instance,
        generation: Some(generation),
        join_token: None,
    };
    let name = format!("bot-{name}");
    Caller { who: Who::User(Box::new(user(&name, &[&name], Some(identity), key))), addr: None }
}

/// A key of its own.
pub(super) fn key() -> PublicKey {
    SubjectKey::generate(&aws_lc_rs::rand::SystemRandom::new()).expect("a key").public().clone()
}

fn user(name: &str, roles: &[&str], bot: Option<BotIdentity>, key: PublicKey) -> User {
    let roles = roles.iter().map(|role| RoleName::new(*role).expect("a name")).collect();
    let person = UserIdentity::person(UserName::new(name).expect("a name"), roles);
    let identity = UserIdentity { renewable: bot.is_some(), bot, ..person };
    User { identity, key, expires: jiff::Timestamp::MAX }
}

/// A request as the guard passes it on.
pub(super) fn from<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

struct NoAuthorities;

impl Authorities for NoAuthorities {
    fn resources(&self) -> Vec<CertAuthority> {
        Vec::new()
    }
}

impl Bench {
    /// A cluster with the preset roles.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            SqliteStore::open(directory.path().join("store"), SqliteOptions::default()).expect("opens");
        let engine: Arc<dyn Engine> = Arc::new(store);
        let audit = AuditLog::new(engine.clone(), Arc::new(SystemClock), "example");
        let catalog = Catalog::open(engine, audit, Arc::new(SystemClock)).await.expect("opens");
        let catalog = Arc::new(catalog);
        let envelope = Envelope::open_or_make(directory.path()).expect("a key");
        let tokens = Arc::new(Tokens::new(&envelope, vec![]));
        let bench = Self {
            resources: Resources::new(
                catalog.clone(),
                tokens.clone(),
                Arc::new(NoAuthorities),
                Arc::default(),
            ),
            bots: Bots::new(catalog.clone(), tokens, Arc::default()),
            catalog,
            _directory: directory,
        };
        for role in access::preset::roles() {
            let role = access::resource::Resource::Role(Box::new(role)).to_json();
            bench.create(&root(), role).await.expect("a preset");
        }
        bench
    }

    pub async fn create(&self, caller: &Caller, json: Value) -> Result<Value, Problem> {
        let request = from(caller, CreateRequest { json: json.to_string() });
        let answer = self.resources.create(request).await.map_err(|status| Problem::of(&status))?;
        Ok(read(&answer.into_inner().json))
    }

    pub async fn upsert(&self, caller: &Caller, json: Value) -> Result<(Value, bool), Problem> {
        let request = from(caller, UpsertRequest { json: json.to_string() });
        let answer = self.resources.upsert(request).await.map_err(|status| Problem::of(&status))?;
        let answer = answer.into_inner();
        Ok((read(&answer.json), answer.created))
    }

    pub async fn look(&self, caller: &Caller, kind: &str, name: &str) -> Result<Value, Problem> {
        self.look_at(caller, kind, name, false).await
    }

    pub async fn look_at(
        &self,
        caller: &Caller,
        kind: &str,
        name: &str,
        with_secrets: bool,
    ) -> Result<Value, Problem> {
        let request = from(caller, GetRequest { kind: kind.into(), name: name.into(), with_secrets });
        let answer = self.resources.get(request).await.map_err(|status| Problem::of(&status))?;
        Ok(read(&answer.into_inner().json))
    }

    /// The names on one page, and the next page's token.
    pub async fn list(
        &self,
        caller: &Caller,
        kind: &str,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<String>, String), Problem> {
        let request =
            ListRequest { kind: kind.into(), with_secrets: false, page_size, page_token: page_token.into() };
        let answer = self.resources.list(from(caller, request)).await;
        let answer = answer.map_err(|status| Problem::of(&status))?.into_inner();
        let name = |json: &String| read(json)["metadata"]["name"].as_str().expect("a name").to_owned();
        Ok((answer.json.iter().map(name).collect(), answer.next_page_token))
    }

    pub async fn delete(&self, caller: &Caller, kind: &str, name: &str) -> Result<(), Problem> {
        let request = from(caller, DeleteRequest { kind: kind.into(), name: name.into() });
        self.resources.delete(request).await.map(drop).map_err(|status| Problem::of(&status))
    }

    /// Every event so far, as text.
    pub async fn events(&self) -> Vec<String> {
        let events = self.catalog.audit.search(EventFilter::default()).await.expect("is read");
        events.into_iter().map(|event| event.json).collect()
    }
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// A role with nothing in it but these rules.
pub(super) fn role(name: &str, rules: Value) -> Value {
    json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {"allow": {"rules": rules}}})
}

/// A user with these roles.
pub(super) fn user_with(name: &str, roles: &[&str]) -> Value {
    json!({"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": {"roles": roles}})
}
