//! A running auth service in a temporary directory, and clients of every kind over real TLS.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use access::resource::{Kind, Resource};
use access::{BotName, ClusterName, HostId, HostPort, RoleName, SystemRole};
use api::convert;
use api::status::Problem;
use api::v1;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::join_service_client::JoinServiceClient;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind as Asked;
use auth::catalog::{layout, record};
use auth::core::Core;
use auth::enrol::instance::Instance;
use auth::tokens::Tokens;
use auth::{Config, Running, StartError, StaticToken};
use aws_lc_rs::rand::SystemRandom;
use identity::Credentials;
use identity::key::{PublicKey, SubjectKey};
use jiff::{SignedDuration, Timestamp};
use join::Claim;
use join::bound_keypair::Showing;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use store::{Clock, Engine, EventFilter, SqliteOptions, SqliteStore, Txn};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use transport::health::ServiceHealth;
use transport::rpc::{connect_admin, connect_auth, connect_join};
use transport::{LiveCredentials, ServerTrust};
use zeroize::Zeroizing;

pub const STATIC_TOKEN: &str = "static-token-for-nodes-and-proxies";

/// The time of the machine, moved or halted.
#[derive(Default)]
pub struct MovedClock {
    by: Mutex<SignedDuration>,
    halted: OnceLock<Timestamp>,
}

impl MovedClock {
    pub fn advance(&self, by: SignedDuration) {
        *self.by.lock().expect("not poisoned") += by;
    }

    /// From now on time passes by [`Self::advance`] alone: for what a slow machine must not change.
    pub fn halt(&self) {
        self.halted.get_or_init(Timestamp::now);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let machine = self.halted.get().copied().unwrap_or_else(Timestamp::now);
        machine + *self.by.lock().expect("not poisoned")
    }
}

/// A running auth.
pub struct Auth {
    pub running: Option<Running>,
    pub directory: Arc<tempfile::TempDir>,
    pub clock: Arc<MovedClock>,
    pub health: ServiceHealth,
    pub addr: HostPort,
    pub pins: Vec<identity::Pin>,
    stop: CancellationToken,
}

pub fn config(directory: &Path, clock: &Arc<MovedClock>) -> Config {
    Config {
        data_dir: directory.join("data"),
        storage: directory.join("data/store"),
        store: SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() },
        cluster_name: ClusterName::new("example.com").expect("a name"),
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        public: vec![],
        static_tokens: vec![StaticToken {
            roles: vec![SystemRole::Node, SystemRole::Proxy],
            secret: Zeroizing::new(STATIC_TOKEN.to_owned()),
        }],
        issuer_roots: vec![],
        reach: vec![],
        kubernetes: None,
        workload_issuer: None,
        preference: None,
        networking: None,
        admin: None,
    }
}

impl Auth {
    pub async fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::start_in(directory, Arc::default(), |_| {}).await.expect("starts")
    }

    pub async fn start_in(
        directory: Arc<tempfile::TempDir>,
        clock: Arc<MovedClock>,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        let mut config = config(directory.path(), &clock);
        change(&mut config);
        let (stop, health) = (CancellationToken::new(), ServiceHealth::new("auth"));
        let mut registry = prometheus_client::registry::Registry::default();
        let running = auth::start(config, health.clone(), &mut registry, stop.clone()).await?;
        let addr = HostPort::new("127.0.0.1", running.addr.port()).expect("an address");
        let pins = running.trust().pins();
        Ok(Self { running: Some(running), directory, clock, health, addr, pins, stop })
    }

    /// Stops it in good order; the directory stays.
    pub async fn stop(mut self) -> (Arc<tempfile::TempDir>, Arc<MovedClock>) {
        self.stop.cancel();
        let running = self.running.take().expect("runs");
        running.finished(self.stop.clone()).await;
        (self.directory.clone(), self.clock.clone())
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn stranger(&self) -> Channel {
        connect_join(&self.addr, ServerTrust::pins(self.pins.clone()))
    }

    pub fn admin(&self) -> Channel {
        connect_admin(&self.data().join(auth::ADMIN_SOCKET))
    }

    pub fn member(&self, credentials: &Credentials) -> Channel {
        connect_auth(&self.addr, &LiveCredentials::new(credentials.clone()).expect("credentials fit"))
    }

    pub async fn join(&self, joiner: &Joiner) -> Result<Credentials, Problem> {
        joiner.join(self.stranger()).await
    }
}

impl Auth {
    pub fn core(&self) -> &Arc<Core> {
        self.running.as_ref().expect("runs").core()
    }

    /// Writes a resource past the services.
    pub async fn put(&self, resource: serde_json::Value) {
        let resource = Resource::from_json(resource).expect("a resource");
        let core = self.core();
        let txn = match &resource {
            Resource::Token(token) => core.tokens.put(Txn::new(), token),
            other => {
                let key = layout::resource(other.kind(), other.name()).expect("a key");
                record::put(Txn::new(), key, other)
            }
        };
        let txn = if resource.kind() == Kind::Lock { txn.put(layout::lock_epoch(), "") } else { txn };
        let revision = core.catalog.commit(txn).await.expect("commits").expect("no conflict");
        if !matches!(resource, Resource::Token(_)) {
            core.settled(revision).await;
        }
    }

    pub async fn delete(&self, kind: Kind, name: &str) {
        let key = layout::resource(kind, name).expect("a key");
        let txn = Txn::new().delete(key).put(layout::lock_epoch(), "");
        let revision = self.core().catalog.commit(txn).await.expect("commits").expect("no conflict");
        self.core().settled(revision).await;
    }

    /// A role with this login everywhere, and a bot that may have it.
    pub async fn bot(&self, name: &str) {
        self.role("ops", "root").await;
        self.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": name},
            "spec": {"roles": ["ops"], "traits": []}}))
            .await;
    }

    pub async fn role(&self, name: &str, login: &str) {
        self.put(json!({"kind": "role", "version": "v7", "metadata": {"name": name},
            "spec": {"allow": {"logins": [login], "node_labels": {"*": "*"}}}}))
            .await;
    }

    /// A one-time token for a bot.
    pub async fn bot_token(&self, bot: &str) -> String {
        let name = Tokens::random_name().expect("random");
        self.put(json!({"kind": "token", "version": "v2",
            "metadata": {"name": name, "expires": (self.clock.now() + SignedDuration::from_hours(1)).to_string()},
            "spec": {"roles": ["Bot"], "bot_name": bot}}))
            .await;
        name
    }

    pub async fn lock(&self, name: &str, target: serde_json::Value) {
        self.put(
            json!({"kind": "lock", "version": "v2", "metadata": {"name": name}, "spec": {"target": target}}),
        )
        .await;
    }

    /// A bot that has joined.
    pub async fn joined_bot(&self, name: &str) -> Credentials {
        self.bot(name).await;
        let token = self.bot_token(name).await;
        self.join(&Joiner::bot(&token)).await.expect("joins")
    }

    /// The bodies of all events with this name.
    pub async fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let filter = EventFilter { names: vec![name.to_owned()], ..EventFilter::default() };
        let found = self.core().audit().search(filter).await.expect("searches");
        found.iter().map(|event| serde_json::from_str(&event.json).expect("JSON")).collect()
    }

    pub async fn instances(&self, bot: &str) -> Vec<Instance> {
        let entries = self.core().catalog.all(layout::instances(&bot_name(bot))).await.expect("reads");
        entries.iter().map(|entry| Instance::read(entry).expect("an instance")).collect()
    }
}

/// Opens the store of an auth that does not run.
pub fn store_in(directory: &Path) -> Arc<dyn Engine> {
    Arc::new(SqliteStore::open(directory.join("data/store"), SqliteOptions::default()).expect("opens"))
}

/// Somebody who wants to join; the same for each retry.
#[derive(Clone)]
pub struct Joiner {
    pub token: String,
    pub role: &'static str,
    pub key: SubjectKey,
    pub attempt: Vec<u8>,
    pub ttl_seconds: u64,
    pub host: Option<v1::HostDetails>,
    pub bound: Option<Bound>,
    pub id_token: String,
    pub aws: Option<Arc<join::iam::Credentials>>,
    pub azure: Option<Arc<Attest>>,
}

/// What a machine of Azure shows for a nonce.
pub type Attest = dyn Fn(&str) -> v1::AzureAttestation + Send + Sync;

/// What the holder of a bound key keeps.
#[derive(Clone)]
pub struct Bound {
    pub key: SubjectKey,
    pub state: Vec<u8>,
    pub secret: String,
    /// Offered with each join.
    pub next: Option<SubjectKey>,
}

/// What an answer tells the holder of a bound key to keep.
pub struct Kept {
    pub state: Vec<u8>,
    pub key_accepted: bool,
}

impl Bound {
    pub fn keep(&mut self, kept: Kept) {
        self.state = kept.state;
        if let Some(next) = self.next.take().filter(|_| kept.key_accepted) {
            self.key = next;
        }
    }
}

pub fn key() -> SubjectKey {
    SubjectKey::generate(&SystemRandom::new()).expect("a key")
}

pub fn random_attempt() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("random");
    bytes
}

impl Joiner {
    pub fn bot(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            role: "Bot",
            key: key(),
            attempt: random_attempt(),
            ttl_seconds: 0,
            host: None,
            bound: None,
            id_token: String::new(),
            aws: None,
            azure: None,
        }
    }

    /// A bot with a key of its own that it binds with `secret`.
    pub fn bound(token: &str, secret: &str) -> Self {
        let bound = Bound { key: key(), state: vec![], secret: secret.to_owned(), next: None };
        Self { bound: Some(bound), ..Self::bot(token) }
    }

    /// The service of a host with a key of its own.
    pub fn bound_host(token: &str, secret: &str, role: &'static str, hostname: &str) -> Self {
        Self { bound: Self::bound(token, secret).bound, ..Self::host(token, role, hostname) }
    }

    /// A job that a platform vouches for.
    pub fn job(token: &str, id_token: &str) -> Self {
        Self { id_token: id_token.to_owned(), ..Self::bot(token) }
    }

    /// The next thing it asks for, with a fresh key.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { key: key(), attempt: random_attempt(), ..self.clone() }
    }

    pub fn host(token: &str, role: &'static str, hostname: &str) -> Self {
        let host = v1::HostDetails {
            host_id: HostId(uuid::Uuid::new_v4()).to_string(),
            hostname: hostname.to_owned(),
            principals: vec![],
            ssh_public_key: vec![],
        };
        Self { role, host: Some(host), ..Self::bot(token) }
    }

    pub fn with_token(self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self }
    }

    pub fn node(hostname: &str) -> Self {
        Self::host(STATIC_TOKEN, "Node", hostname)
    }

    pub async fn request(&self, channel: &Channel) -> Result<v1::JoinRequest, Status> {
        let challenge = JoinServiceClient::new(channel.clone()).challenge(v1::ChallengeRequest {}).await?;
        let challenge = challenge.into_inner().challenge;
        let public_key = self.key.spki_der();
        let role = self.role.parse().expect("a role");
        let claim = Claim {
            token: &self.token,
            role,
            attempt: &self.attempt,
            public_key: &public_key,
            challenge: &challenge,
        };
        let signature = self.key.sign(&join::prove(&claim)).expect("signs");
        let bound_keypair = self.bound.as_ref().map(|bound| {
            let next = bound.next.as_ref().map(SubjectKey::spki_der).unwrap_or_default();
            let showing = Showing {
                public_key: &bound.key.spki_der(),
                join_state: &bound.state,
                registration_secret: &bound.secret,
                next_public_key: &next,
            };
            let statement = join::bound_keypair::prove(&claim, &showing);
            let next_signature = bound.next.as_ref().map(|next| next.sign(&statement).expect("signs"));
            v1::BoundKeypair {
                public_key: bound.key.spki_der(),
                signature: bound.key.sign(&statement).expect("signs"),
                join_state: bound.state.clone(),
                registration_secret: bound.secret.clone(),
                next_public_key: next.clone(),
                next_signature: next_signature.unwrap_or_default(),
            }
        });
        let aws = self.aws.as_ref().map(|credentials| {
            let endpoint = join::iam::Endpoint::of_region("eu-central-1", false).expect("one");
            let (date, signature) = join::iam::prove(&claim, endpoint, credentials, Timestamp::now());
            v1::AwsRequest {
                host: endpoint.host(),
                date,
                access_key_id: credentials.access_key_id.clone(),
                session_token: credentials.session_token.as_deref().cloned().unwrap_or_default(),
                signature: signature.to_vec(),
            }
        });
        let azure = self.azure.as_ref().map(|attest| attest(&join::azure::nonce(&claim)));
        Ok(v1::JoinRequest {
            azure,
            aws,
            token: self.token.clone(),
            role: self.role.to_owned(),
            attempt: self.attempt.clone(),
            public_key: public_key.clone(),
            challenge: challenge.clone(),
            signature,
            ttl_seconds: self.ttl_seconds,
            host: self.host.clone(),
            bound_keypair,
            id_token: self.id_token.clone(),
            tpm: None,
        })
    }

    pub async fn join(&self, channel: Channel) -> Result<Credentials, Problem> {
        self.join_with_state(channel).await.map(|(credentials, _)| credentials)
    }

    /// Joins and keeps what the answer says.
    pub async fn join_and_keep(&mut self, channel: Channel) -> Result<Credentials, Problem> {
        let (credentials, kept) = self.join_with_state(channel).await?;
        if let Some(bound) = &mut self.bound {
            bound.keep(kept);
        }
        Ok(credentials)
    }

    pub async fn join_with_state(&self, channel: Channel) -> Result<(Credentials, Kept), Problem> {
        let request = self.request(&channel).await.map_err(|status| Problem::of(&status))?;
        let answer = JoinServiceClient::new(channel).join(request).await;
        let answer = answer.map_err(|status| Problem::of(&status))?.into_inner();
        let kept = Kept { state: answer.join_state, key_accepted: answer.key_accepted };
        let message = answer.credentials.expect("credentials");
        let ssh_key = self.host.as_ref().map(|host| PublicKey::from_spki_der(&host.ssh_public_key));
        let ssh_key = ssh_key.and_then(Result::ok);
        let credentials = convert::host_credentials(self.key.clone(), ssh_key.as_ref(), message);
        Ok((credentials.expect("they fit"), kept))
    }
}

/// Renews an instance's own identity with a given new key.
pub async fn renew(channel: Channel, key: &SubjectKey) -> Result<Credentials, Problem> {
    let request = v1::RenewBotRequest { public_key: key.spki_der(), ttl_seconds: 0 };
    let answer = CertificateServiceClient::new(channel).renew_bot(request).await;
    let message = answer.map_err(|status| Problem::of(&status))?.into_inner().credentials;
    Ok(convert::credentials(key.clone(), message.expect("credentials")).expect("they fit"))
}

pub async fn confirm(channel: Channel) -> Result<(), Problem> {
    let answer = CertificateServiceClient::new(channel).confirm_renewal(v1::ConfirmRenewalRequest {}).await;
    answer.map(drop).map_err(|status| Problem::of(&status))
}

/// Certificates with these roles.
pub async fn output(channel: Channel, roles: &[&str], ttl_seconds: u64) -> Result<Credentials, Problem> {
    let key = key();
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let request = v1::CertificateRequest { public_key: key.spki_der(), roles, ttl_seconds };
    let Answer::Certificate(answer) = one(channel, Asked::Certificate(request)).await? else {
        panic!("something else")
    };
    Ok(convert::credentials(key, answer).expect("they fit"))
}

/// What one output asks for; refused as a call or as the one thing in it.
pub async fn one(channel: Channel, kind: Asked) -> Result<Answer, Problem> {
    outputs(channel, vec![kind]).await?.0.remove(0)
}

/// Everything in one call, and whom to trust for workloads.
pub async fn outputs(
    channel: Channel,
    kinds: Vec<Asked>,
) -> Result<(Vec<Result<Answer, Problem>>, Option<v1::WorkloadTrust>), Problem> {
    let outputs = kinds.into_iter().map(|kind| v1::OutputRequest { kind: Some(kind) }).collect();
    let request = v1::IssueOutputsRequest { outputs };
    let answer = CertificateServiceClient::new(channel).issue_outputs(request).await;
    let answer = answer.map_err(|status| Problem::of(&status))?.into_inner();
    let outputs = answer.outputs.into_iter().map(|output| match output.answer.expect("an answer") {
        Answer::Refused(refused) => Err(refused.into()),
        granted => Ok(granted),
    });
    Ok((outputs.collect(), answer.workload_trust))
}

pub fn generation(credentials: &Credentials) -> Option<u64> {
    credentials.identity().user().and_then(|user| user.bot.as_ref()).and_then(|bot| bot.generation)
}

pub fn instance(credentials: &Credentials) -> String {
    let bot = credentials.identity().user().and_then(|user| user.bot.clone()).expect("a bot");
    bot.instance.to_string()
}

pub fn bot_name(name: &str) -> BotName {
    BotName::new(name).expect("a name")
}

pub fn role_name(name: &str) -> RoleName {
    RoleName::new(name).expect("a name")
}
