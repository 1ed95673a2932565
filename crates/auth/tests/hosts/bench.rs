//! A running auth without its listeners, and callers of every sort.

use access::resource::{Kind, Resource};
use access::{ClusterName, HostId, RoleName, SystemRole, UserName};
use api::v1::agent_message::Message as Said;
use api::v1::auth_message::Message;
use api::v1::{AgentMessage, AuthMessage, NodeReport, ProxyReport};
use auth::audit::AuditLog;
use auth::caller::{Caller, Host, User, Who};
use auth::catalog::{Catalog, layout, record};
use auth::core::Core;
use auth::enrol::host::Host as Enrolment;
use auth::issuer::Issuer;
use auth::metrics::Metrics;
use auth::pacing::Pacing;
use auth::policy::{Pace as PolicyPace, Policies};
use auth::presence::Presence;
use auth::sealing::Envelope;
use auth::services::inventory::{Connected, Inventory, Messages, Pace};
use auth::tokens::Tokens;
use identity::UserIdentity;
use identity::key::{PublicKey, SubjectKey};
use jiff::Timestamp;
use join::ChallengeKey;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Clock, Engine, Revision, SqliteOptions, SqliteStore, SystemClock, Txn};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Status};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    pub core: Arc<Core>,
    pub shutdown: CancellationToken,
    _stop: DropGuard,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(PolicyPace::default()).await
    }

    pub async fn with(pace: PolicyPace) -> Self {
        Self::over(SqliteOptions::default(), pace).await
    }

    pub async fn over(options: SqliteOptions, pace: PolicyPace) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(directory.path().join("store"), options).expect("opens");
        let engine: Arc<dyn Engine> = Arc::new(store);
        let audit = AuditLog::new(engine.clone(), Arc::new(SystemClock), "example.com");
        let catalog = Arc::new(Catalog::open(engine, audit, Arc::new(SystemClock)).await.expect("opens"));
        let cluster = ClusterName::new("example.com").expect("a name");
        let authorities = ca::Authorities::generate(&cluster, SystemClock.now()).expect("authorities");
        let web = auth::web::Web::new(vec![], vec![]);
        let clock: Arc<dyn store::Clock> = Arc::new(store::SystemClock);
        let core = Arc::new(Core {
            issuers: auth::issuers::Issuers::new(web.clone(), clock.clone()),
            sts: auth::sts::Sts::new(web.clone(), clock.clone()),
            arm: auth::arm::ResourceManager::new(web, clock),
            attempts: auth::attempts::Attempts::default(),
            kubernetes: None,
            cluster,
            issuer: Issuer::new(authorities, 1),
            workload_issuer: None,
            tokens: Arc::new(Tokens::new(&Envelope::open_or_make(directory.path()).expect("a key"), vec![])),
            challenges: ChallengeKey::new(&[7; 32]),
            pacing: Pacing::new(SystemClock.now()),
            budgets: auth::pacing::Budgets::new(SystemClock.now()),
            renewals: auth::turnstile::Turnstile::new(std::time::Instant::now()),
            joins: auth::turnstile::Turnstile::new(std::time::Instant::now()),
            presence: Arc::new(Presence::default()),
            policies: Policies::default(),
            metrics: Metrics::default(),
            catalog,
        });
        let stop = CancellationToken::new();
        tokio::spawn(core.catalog.clone().follow(stop.clone()));
        tokio::spawn(Policies::follow(core.clone(), pace, stop.clone()));
        let shutdown = stop.child_token();
        Self { core, shutdown, _stop: stop.drop_guard(), _directory: directory }
    }

    /// Writes a resource and waits until it is in the view.
    pub async fn put(&self, resource: Value) -> Revision {
        let resource = Resource::from_json(resource).expect("a resource");
        let key = layout::resource(resource.kind(), resource.name()).expect("a key");
        let mut txn = record::put(Txn::new(), key, &resource);
        if resource.kind() == Kind::Lock {
            txn = txn.put(layout::lock_epoch(), "");
        }
        let revision = self.core.catalog.commit(txn).await.expect("commits").expect("no conflict");
        if layout::kind(resource.kind()).is_under(&layout::state()) {
            let mut changes = self.core.catalog.changes();
            let seen = changes.wait_for(|seen| *seen >= revision);
            tokio::time::timeout(PATIENCE, seen).await.expect("is seen").expect("the catalog lives");
        }
        revision
    }

    pub async fn role(&self, name: &str, allow: Value) {
        self.put(
            json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {"allow": allow}}),
        )
        .await;
    }

    pub async fn lock(&self, name: &str, target: Value) {
        let spec = json!({"target": target, "message": "stolen"});
        self.put(json!({"kind": "lock", "version": "v2", "metadata": {"name": name}, "spec": spec})).await;
    }

    /// A node with an enrolment.
    pub async fn enrolled(&self, number: u128) -> Caller {
        let shown = host(number, SystemRole::Node, "n");
        let enrolment = Enrolment {
            id: shown.id,
            role: shown.role,
            key: shown.key.fingerprint(),
            previous: None,
            names: shown.names.clone(),
            held: std::collections::BTreeMap::new(),
            expires: Timestamp::now() + jiff::SignedDuration::from_hours(1),
            from: None,
            process: String::new(),
            bound_to: None,
        };
        self.core.catalog.commit(enrolment.put(Txn::new())).await.expect("commits").expect("no conflict");
        Caller { who: Who::Host(Box::new(shown)), addr: None }
    }

    pub async fn node(&self, number: u128, hostname: &str, env: &str) {
        let id = id(number).to_string();
        self.put(json!({"kind": "node", "version": "v2", "metadata": {"name": id, "labels": {"env": env}},
            "spec": {"hostname": hostname, "addr": "127.0.0.1:3022"}}))
            .await;
    }

    pub fn connect(&self, host: Host) -> Stream {
        self.connect_at(host, Pace::default())
    }

    pub fn connect_at(&self, host: Host, pace: Pace) -> Stream {
        self.connect_from(host, pace, "127.0.0.1".parse().ok())
    }

    pub fn connect_from(&self, host: Host, pace: Pace, from: Option<IpAddr>) -> Stream {
        let inventory = Inventory::new(self.core.clone(), pace, self.shutdown.clone());
        let (say, incoming) = mpsc::channel(16);
        let connected = Connected { host, from, expires: Timestamp::MAX, keeper: None };
        Stream { hear: inventory.open(connected, ReceiverStream::new(incoming)), say }
    }

    /// Waits until presence is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Presence) -> bool) {
        let mut ticks = self.core.presence.ticks();
        let seen = ticks.wait_for(|_| wanted(&self.core.presence));
        tokio::time::timeout(PATIENCE, seen).await.expect("comes true").expect("presence lives");
    }
}

/// A host's end of a stream.
pub struct Stream {
    pub say: mpsc::Sender<Result<AgentMessage, Status>>,
    pub hear: Messages,
}

impl Stream {
    pub async fn say(&self, said: Said) {
        self.say.send(Ok(AgentMessage { message: Some(said) })).await.expect("auth listens");
    }

    /// The next message; an error ends the stream.
    pub async fn next(&mut self) -> Result<Message, Status> {
        let heard = tokio::time::timeout(PATIENCE, self.hear.next()).await.expect("comes");
        let AuthMessage { message } = heard.expect("is no end without a reason")?;
        Ok(message.expect("says something"))
    }

    /// The first message for which there is something to say.
    pub async fn find<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await.expect("goes on")) {
                return found;
            }
        }
    }

    /// Reads to the reason of the end.
    pub async fn refusal(&mut self) -> api::status::Problem {
        loop {
            if let Err(status) = self.next().await {
                return api::status::Problem::of(&status);
            }
        }
    }
}

pub fn id(number: u128) -> HostId {
    HostId(uuid::Uuid::from_u128(number))
}

pub fn host(number: u128, role: SystemRole, name: &str) -> Host {
    Host { id: id(number), role, names: vec![format!("{name}.example.com"), name.to_owned()], key: key() }
}

pub fn node_report(hostname: &str, env: &str) -> Said {
    Said::Node(NodeReport {
        hostname: hostname.to_owned(),
        addr: "127.0.0.1:3022".to_owned(),
        labels: [("env".to_owned(), env.to_owned())].into(),
        version: "1.0".to_owned(),
        ..NodeReport::default()
    })
}

pub fn proxy_report(addr: &str) -> Said {
    Said::Proxy(ProxyReport { public_addrs: vec![addr.to_owned()], version: "1.0".to_owned() })
}

fn key() -> PublicKey {
    SubjectKey::generate(&aws_lc_rs::rand::SystemRandom::new()).expect("a key").public().clone()
}

pub fn root() -> Caller {
    Caller { who: Who::LocalAdmin { uid: 0 }, addr: None }
}

pub fn of_host(number: u128) -> Caller {
    Caller { who: Who::Host(Box::new(host(number, SystemRole::Node, "n"))), addr: None }
}

pub fn person(name: &str, roles: &[&str]) -> Caller {
    let identity = UserIdentity::person(
        UserName::new(name).expect("a name"),
        roles.iter().map(|role| RoleName::new(*role).expect("a name")).collect(),
    );
    let user = User { identity, key: key(), expires: Timestamp::MAX };
    Caller { who: Who::User(Box::new(user)), addr: None }
}

/// A request as the guard passes it on.
pub fn from<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}
