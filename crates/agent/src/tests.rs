//! The agent against a real auth: members, strangers, restarts, and an auth that is away.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use access::{ClusterName, HostPort, SystemRole};
use api::v1::audit_service_client::AuditServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use api::v1::{HostDetails, NodeReport, SearchRequest, UpsertRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::key::{PublicKey, SubjectKey};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;
use transport::rpc::connect_admin;
use transport::{Problem, ServerTrust};
use zeroize::Zeroizing;

use crate::joining::Joiner;
use crate::rejoining::Rejoin;
use crate::renewal::Renewer;
use crate::state::StateDir;
use crate::{AuditEvent, Config, HostAgent, JoinSource, Proof, Report, SshHost, StartError};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Auth {
    addr: SocketAddr,
    trust: ServerTrust,
    pin: identity::Pin,
    token: Zeroizing<String>,
    admin: transport::rpc::Channel,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Auth {
    async fn start(directory: &Path, listen: SocketAddr) -> Self {
        let config = auth::Config {
            data_dir: directory.join("auth"),
            storage: directory.join("auth/store.sqlite"),
            store: store::SqliteOptions::default(),
            cluster_name: ClusterName::new("example.com").expect("a name"),
            listen: listen.into(),
            public: Vec::new(),
            static_tokens: Vec::new(),
            issuer_roots: vec![],
            reach: vec![],
            kubernetes: None,
            workload_issuer: None,
            preference: None,
            networking: None,
            admin: None,
        };
        let (health, stop) = (ServiceHealth::new("auth"), CancellationToken::new());
        let started = auth::start(config, health, &mut Registry::default(), stop.clone()).await;
        let running = started.expect("auth starts");
        let bundle = running.trust();
        Self {
            addr: running.addr,
            pin: bundle.pins()[0],
            trust: ServerTrust::cluster(Arc::clone(&bundle)),
            token: running.local_token(SystemRole::Node).expect("a token"),
            admin: connect_admin(&running.admin_socket),
            ended: tokio::spawn(running.finished(stop.clone())),
            stop,
        }
    }

    async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.ended.await.expect("ends");
        self.addr
    }

    fn source(&self) -> JoinSource {
        JoinSource::token(self.token.clone(), self.trust.clone())
    }

    async fn events(&self, event: &str) -> Vec<String> {
        let request = SearchRequest { events: vec![event.into()], limit: 100, ..SearchRequest::default() };
        let found = AuditServiceClient::new(self.admin.clone()).search(request).await.expect("found");
        found.into_inner().events.into_iter().map(|event| event.json).collect()
    }
}

fn address(addr: SocketAddr) -> HostPort {
    HostPort::parse(&addr.to_string(), 0).expect("an address")
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn start(
    directory: &Path,
    auth: SocketAddr,
    join: Option<JoinSource>,
    stop: &CancellationToken,
) -> Result<HostAgent, StartError> {
    start_as("web-1", &[], directory, auth, join, stop).await
}

async fn start_as(
    hostname: &str,
    principals: &[&str],
    directory: &Path,
    auth: SocketAddr,
    join: Option<JoinSource>,
    stop: &CancellationToken,
) -> Result<HostAgent, StartError> {
    start_with(config(hostname, principals, directory, auth, join), stop).await
}

fn config(
    hostname: &str,
    principals: &[&str],
    directory: &Path,
    auth: SocketAddr,
    join: Option<JoinSource>,
) -> Config {
    Config {
        role: SystemRole::Node,
        data_dir: directory.join("node"),
        auth: address(auth),
        join,
        hostname: hostname.into(),
        principals: principals.iter().map(|name| (*name).to_owned()).collect(),
        ssh_key: None,
        report: Report::Node(NodeReport { hostname: hostname.into(), ..NodeReport::default() }),
    }
}

async fn start_with(config: Config, stop: &CancellationToken) -> Result<HostAgent, StartError> {
    let health = ServiceHealth::new("node");
    let starting = HostAgent::start(config, &health, stop.clone());
    tokio::time::timeout(PATIENCE, starting).await.expect("in time")
}

async fn leave(agent: HostAgent, stop: CancellationToken) {
    stop.cancel();
    tokio::time::timeout(PATIENCE, agent.stopped()).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_told_why_they_do_not_get_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let none = start(directory.path(), auth.addr, None, &stop).await.expect_err("no token");
    assert!(matches!(none, StartError::NoToken { .. }), "{none}");
    assert!(none.to_string().contains("tctl tokens add --type=node"), "{none}");
    let wrong = JoinSource { token: Zeroizing::new("0".repeat(32)), ..auth.source() };
    let refused = start(directory.path(), auth.addr, Some(wrong), &stop).await.expect_err("a wrong token");
    assert!(matches!(refused, StartError::Refused { .. }), "{refused}");
    assert!(!refused.to_string().contains(&"0".repeat(32)), "{refused}");
    let pin = format!("sha256:{}", "00".repeat(32)).parse().expect("a pin");
    let pinned = JoinSource { trust: ServerTrust::pins(vec![pin]), ..auth.source() };
    let error = start(directory.path(), auth.addr, Some(pinned), &stop).await.expect_err("a wrong pin");
    let StartError::Connect(error) = error else { panic!("{error}") };
    assert!(matches!(error.problem, Problem::WrongPin { .. }), "{error}");
    // And with the right ones, after all of that.
    let right = JoinSource { trust: ServerTrust::pins(vec![auth.pin]), ..auth.source() };
    let agent = start(directory.path(), auth.addr, Some(right), &stop).await.expect("joins");
    assert_eq!(agent.cluster().as_str(), "example.com");
    assert!(!directory.path().join("node/host/node/join.json").exists(), "the attempt is over");
    leave(agent, stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_starts_without_auth_and_its_events_arrive_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(auth.source()), &stop).await.expect("joins");
    let (id, revision) = (agent.host_id(), agent.policy().current().revision);
    leave(agent, stop).await;
    let addr = auth.stop().await;

    let stop = CancellationToken::new();
    let agent = start(directory.path(), addr, None, &stop).await.expect("starts by what it remembers");
    assert_eq!((agent.host_id(), agent.policy().current().revision), (id, revision));
    agent.audit().emit(AuditEvent::new("service.start", "PA001I").with("service", "first"));
    // The second one waits on disk, for the next process.
    leave(agent, stop).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), addr, None, &stop).await.expect("starts again");
    agent.audit().emit(AuditEvent::new("role.created", "T9000I").with("name", "a host may not say this"));
    agent.audit().emit(AuditEvent::new("service.start", "PA001I").with("service", "second"));
    let auth = Auth::start(directory.path(), addr).await;
    let arrived = async {
        loop {
            let events = auth.events("service.start").await;
            if ["first", "second"].iter().all(|name| events.iter().any(|event| event.contains(name))) {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let events = tokio::time::timeout(PATIENCE, arrived).await.expect("they arrive");
    assert!(events.iter().filter(|event| event.contains("\"first\"")).count() == 1, "{events:?}");
    assert_eq!(agent.audit().dropped(), 1, "one bad event does not hold up the others");
    leave(agent, stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_of_any_length_is_audited() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(auth.source()), &stop).await.expect("joins");
    for (sid, command) in [("plain", "x".repeat(70_000)), ("escaped", "\u{1}".repeat(11_000))] {
        let event = AuditEvent::new("session.start", "T2000I").with("sid", sid).with("user", "alice");
        agent.audit().emit(event.with("initial_command", vec![command]));
    }
    let arrived = async {
        loop {
            let events = auth.events("session.start").await;
            if ["plain", "escaped"].iter().all(|sid| events.iter().any(|event| event.contains(sid))) {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let events = tokio::time::timeout(PATIENCE, arrived).await.expect("they arrive");
    for event in events {
        assert!(event.contains("\"alice\"") && event.contains("\"truncated\":true"), "{event}");
    }
    assert_eq!(agent.audit().dropped(), 0);
    leave(agent, stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_credentials_are_kept_and_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(auth.source()), &stop).await.expect("joins");
    let old = agent.credentials().current().expect("there");
    let (mut ssh, before) = (agent.ssh_host().own().expect("one key"), old.credentials().serial());
    let state = StateDir::open(&directory.path().join("node"), SystemRole::Node).expect("opens");
    let host = HostDetails {
        host_id: agent.host_id().to_string(),
        hostname: "web-1".into(),
        ..HostDetails::default()
    };
    let credentials = agent.credentials().clone();
    let (auth_addr, source) = (address(auth.addr), Some(auth.source()));
    let rejoin = Rejoin { role: SystemRole::Node, auth: auth_addr, source, ssh_key: None };
    let renewer = Renewer { state: state.clone(), credentials, channel: agent.channel(), host, rejoin };
    renewer.renew(old.credentials()).await.expect("renewed");
    let fresh = agent.credentials().current().expect("there");
    assert_ne!(fresh.credentials().serial(), before);
    tokio::time::timeout(PATIENCE, ssh.changed()).await.expect("in time").expect("follows");
    let text = state.read(crate::host::CREDENTIALS).expect("read").expect("kept");
    let kept = identity::file::decode(std::str::from_utf8(&text).expect("text")).expect("whole");
    assert_eq!(kept.serial(), fresh.credentials().serial());
    leave(agent, stop).await;

    // Credentials of another host are not taken for one's own.
    let stop = CancellationToken::new();
    let id = directory.path().join("node/host_uuid");
    std::fs::write(&id, "11111111-2222-4333-8444-555555555555").expect("written");
    let error = start(directory.path(), auth.addr, None, &stop).await.expect_err("another host's");
    assert!(matches!(error, StartError::State(_)), "{error}");
    assert!(error.to_string().contains("host/node/identity"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_names_are_in_the_certificate_soon_after_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(auth.source()), &stop).await.expect("joins");
    leave(agent, stop).await;
    let mut serials = Vec::new();
    for _ in 0..2 {
        let stop = CancellationToken::new();
        let renamed = start_as("web-2", &["10.9.8.7"], directory.path(), auth.addr, None, &stop);
        let agent = renamed.await.expect("starts");
        let mut live = agent.credentials().subscribe();
        let named = live.wait_for(|current| {
            let identity = current.as_ref().expect("there").credentials().identity();
            let names = &identity.host().expect("a host").names;
            ["web-2", "web-2.example.com", "10.9.8.7"].iter().all(|name| names.iter().any(|has| has == name))
        });
        let current = tokio::time::timeout(PATIENCE, named).await.expect("in time").expect("lives").clone();
        serials.push(current.expect("there").credentials().serial());
        leave(agent, stop).await;
    }
    assert_eq!(serials[0], serials[1], "once is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_certificate_expired_joins_again_if_it_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(auth.source()), &stop).await.expect("joins");
    let state = StateDir::open(&directory.path().join("node"), SystemRole::Node).expect("opens");
    let live = agent.credentials().clone();
    let before = live.current().expect("there").credentials().serial();
    let (host_id, hostname) = (agent.host_id().to_string(), "web-1".into());
    let host = HostDetails { host_id, hostname, ..HostDetails::default() };
    let way = |source| Rejoin { role: SystemRole::Node, auth: address(auth.addr), source, ssh_key: None };
    let error = way(None).once(&state, &host, &live).await.expect_err("nothing to join with");
    assert!(error.to_string().contains("tctl tokens add --type=node"), "{error}");
    assert_eq!(live.current().expect("there").credentials().serial(), before);
    way(Some(auth.source())).once(&state, &host, &live).await.expect("joins again");
    let fresh = live.current().expect("there").credentials().serial();
    assert_ne!(fresh, before);
    let text = state.read(crate::host::CREDENTIALS).expect("read").expect("kept");
    let kept = identity::file::decode(std::str::from_utf8(&text).expect("text")).expect("whole");
    assert_eq!(kept.serial(), fresh);
    leave(agent, stop).await;
}

/// A node whose key is bound to the token `rack`, which lets it join once.
struct Holder {
    state: StateDir,
    host: HostDetails,
    auth: HostPort,
    source: JoinSource,
}

impl Holder {
    async fn of(auth: &Auth, directory: &Path, more: serde_json::Value) -> Self {
        let mut bound = serde_json::json!({"onboarding": {"registration_secret": "0123456789abcdef"}});
        bound.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let token = serde_json::json!({"kind": "token", "version": "v2", "metadata": {"name": "rack"},
            "spec": {"roles": ["Node"], "join_method": "bound_keypair", "bound_keypair": bound}});
        let request = UpsertRequest { json: token.to_string() };
        ResourceServiceClient::new(auth.admin.clone()).upsert(request).await.expect("is made");
        let data_dir = directory.join("node");
        let host_id = crate::host_id(&data_dir).expect("an id").to_string();
        let proof = Proof::BoundKey { secret: Some(Zeroizing::new("0123456789abcdef".to_owned())) };
        Self {
            state: StateDir::open(&data_dir, SystemRole::Node).expect("opens"),
            host: HostDetails { host_id, hostname: "web-1".into(), ..HostDetails::default() },
            auth: address(auth.addr),
            source: JoinSource { token: Zeroizing::new("rack".to_owned()), proof, ..auth.source() },
        }
    }

    fn joiner(&self) -> Joiner<'_> {
        let Self { state, host, auth, source } = self;
        let role = SystemRole::Node;
        Joiner { state, role, auth, source, host: host.clone(), ssh_key: None, over: None }
    }

    fn key(&self) -> String {
        let kept = self.state.read("bound-key").expect("read").expect("kept");
        let kept: serde_json::Value = serde_json::from_slice(&kept).expect("JSON");
        kept["key"].as_str().expect("a key").to_owned()
    }
}

/// It may join once: whatever was lost, each further try is the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_of_a_bound_key_loses_nothing_by_a_crash_between_two_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let holder = Holder::of(&auth, directory.path(), serde_json::json!({})).await;
    holder.joiner().join(|_| {}).await.expect("joins, and keeps nothing");
    let half = holder.joiner().join(|_| {}).await.expect("the same attempt");
    half.bound.expect("a key").keep(&holder.state).expect("kept, and nothing after it");
    let whole = holder.joiner().join(|_| {}).await.expect("still the same attempt");
    holder.joiner().keep(&whole).expect("kept");
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(holder.source.clone()), &stop).await.expect("starts");
    leave(agent, stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_of_a_bound_key_renews_by_it_and_replaces_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let holder = Holder::of(&auth, directory.path(), serde_json::json!({})).await;
    let stop = CancellationToken::new();
    let agent = start(directory.path(), auth.addr, Some(holder.source.clone()), &stop).await.expect("joins");
    let first = holder.key();
    let Holder { state, host, auth: addr, source } = &holder;
    let source = Some(source.clone());
    let rejoin = Rejoin { role: SystemRole::Node, auth: addr.clone(), source, ssh_key: None };
    let renewer = Renewer {
        state: state.clone(),
        credentials: agent.credentials().clone(),
        channel: agent.channel(),
        host: host.clone(),
        rejoin,
    };
    let held = || agent.credentials().current().expect("there").credentials().clone();
    let before = held();
    renewer.renew(&before).await.expect("renews");
    assert_ne!(held().serial(), before.serial());
    assert_eq!(held().identity().host().map(|host| host.id), Some(agent.host_id()));
    assert_eq!(holder.key(), first, "nobody asked for another");
    let more = serde_json::json!({"rotate_after": jiff::Timestamp::now().to_string()});
    Holder::of(&auth, directory.path(), more).await;
    renewer.renew(&held()).await.expect("renews");
    let second = holder.key();
    assert_ne!(second, first);
    renewer.renew(&held()).await.expect("renews by the new key");
    assert_eq!(holder.key(), second, "once is enough");
    leave(agent, stop).await;
}

/// Starts, says over which key the SSH certificate is, by agent and by file, and leaves.
async fn shown(config: Config) -> Option<PublicKey> {
    let (state, stop) =
        (StateDir::open(&config.data_dir, config.role).expect("opens"), CancellationToken::new());
    let agent = start_with(config, &stop).await.expect("starts");
    let text = state.read(crate::host::CREDENTIALS).expect("read").expect("kept");
    let kept = identity::file::decode_host(std::str::from_utf8(&text).expect("text")).expect("whole");
    let shown = match agent.ssh_host() {
        SshHost::Own(_) => None,
        SshHost::Elsewhere(shown) => {
            let shown = shown.borrow().clone();
            assert_eq!(shown.certificate, kept.ssh_certificate);
            Some(shown.key.clone())
        }
    };
    assert_eq!(*kept.ssh_key(), shown.clone().unwrap_or_else(|| kept.key.public().clone()));
    leave(agent, stop).await;
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_for_ssh_may_be_held_elsewhere_and_change_from_start_to_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = Auth::start(directory.path(), anywhere()).await;
    let keys = [(); 2].map(|()| SubjectKey::generate(&SystemRandom::new()).expect("a key"));
    let with = |ssh_key: Option<&SubjectKey>, join| {
        let ssh_key = ssh_key.map(|key| key.public().clone());
        Config { ssh_key, ..config("web-1", &[], directory.path(), auth.addr, join) }
    };
    let first = with(Some(&keys[0]), Some(auth.source()));
    assert_eq!(shown(first).await.as_ref(), Some(keys[0].public()), "joined with it");
    // What an earlier run left is renewed where it is about another key; no token is needed for that.
    for key in [Some(&keys[0]), None, Some(&keys[1]), Some(&keys[0])] {
        assert_eq!(shown(with(key, None)).await.as_ref(), key.map(SubjectKey::public));
    }
}
