//! A cluster in one process: the real auth, the real proxy, hosts that join for real, and SSH servers played by the
//! test.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::{ClusterName, HostPort, SystemRole};
use agent::{HostAgent, JoinSource, Report};
use api::v1::audit_service_client::AuditServiceClient;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::resource_service_client::ResourceServiceClient;
use api::v1::{DeleteRequest, DialRequest, NodeReport, SearchRequest, SignUserRequest, UpsertRequest};
use aws_lc_rs::rand::SystemRandom;
use identity::Credentials;
use identity::key::SubjectKey;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use transport::dial::{DialError, Dialled, dial_ssh};
use transport::health::ServiceHealth;
use transport::rpc::{Channel, connect_admin};
use transport::tls::WebCertificates;
use transport::{LiveCredentials, ServerTrust};

pub const BANNER: &[u8] = b"SSH-2.0-played\r\n";

/// Long enough for a machine that builds eight other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub directory: TempDir,
    pub admin: Channel,
    pub auth: HostPort,
    pub proxy: HostPort,
    pub health: ServiceHealth,
    pub trust: ServerTrust,
    pub pin: identity::Pin,
    node_token: zeroize::Zeroizing<String>,
    auth_stop: CancellationToken,
    auth_ended: Option<JoinHandle<()>>,
    pub proxy_stop: CancellationToken,
    pub proxy_ended: Option<JoinHandle<()>>,
    pub hosts: Vec<Host>,
    metrics: Registry,
}

/// A node that joined, and what its SSH port received.
pub struct Host {
    pub agent: HostAgent,
    pub received: Arc<Mutex<Vec<u8>>>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut proxy::Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let auth_stop = CancellationToken::new();
        let running = start_auth(directory.path(), auth_stop.clone()).await;
        let auth = address(running.addr);
        let bundle = running.trust();
        let pin = bundle.pins()[0];
        let trust = ServerTrust::cluster(bundle);
        let admin = connect_admin(&running.admin_socket);
        let token = |role| running.local_token(role).expect("a token");
        let (node_token, proxy_token) = (token(SystemRole::Node), token(SystemRole::Proxy));
        let auth_ended = tokio::spawn(running.finished(auth_stop.clone()));
        let mut config = proxy::Config {
            listen: loopback().into(),
            public: Vec::new(),
            web: WebCertificates::default(),
            keypairs_reload: None,
            proxy_protocol: false,
            data_dir: directory.path().join("proxy"),
            auth: auth.clone(),
            join: Some(JoinSource::token(proxy_token, trust.clone())),
            hostname: "proxy-1".into(),
            drain: Duration::from_millis(200),
        };
        change(&mut config);
        let (health, proxy_stop) = (ServiceHealth::new("proxy"), CancellationToken::new());
        let mut metrics = Registry::default();
        let started = proxy::start(config, health.clone(), &mut metrics, proxy_stop.clone()).await;
        let running = started.expect("the proxy starts");
        let proxy = address(running.local_addr());
        let proxy_ended = tokio::spawn(running.run());
        Self {
            directory,
            admin,
            auth,
            proxy,
            health,
            trust,
            pin,
            node_token,
            auth_stop,
            auth_ended: Some(auth_ended),
            proxy_stop,
            proxy_ended: Some(proxy_ended),
            hosts: Vec::new(),
            metrics,
        }
    }

    /// A host joins at auth or at the proxy, and serves an SSH port that says hello and listens.
    pub async fn node(&mut self, name: &str, env: &str, at: HostPort, trust: ServerTrust) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let received = Arc::new(Mutex::new(Vec::new()));
        let addr = listener.local_addr().expect("an address").to_string();
        tokio::spawn(listen(listener, Arc::clone(&received)));
        let report = NodeReport {
            hostname: name.into(),
            addr,
            labels: [("env".to_owned(), env.to_owned())].into(),
            version: "0.1.0".into(),
            ..NodeReport::default()
        };
        let config = agent::Config {
            role: SystemRole::Node,
            data_dir: self.directory.path().join(name),
            auth: at,
            join: Some(JoinSource::token(self.node_token.clone(), trust)),
            hostname: name.into(),
            principals: Vec::new(),
            ssh_key: None,
            report: Report::Node(report),
        };
        let health = ServiceHealth::new("node");
        let started = HostAgent::start(config, &health, CancellationToken::new()).await;
        self.hosts.push(Host { agent: started.expect("the node joins"), received });
    }

    /// Two nodes, two roles, and `alice`, who may reach the first alone.
    pub async fn with_nodes() -> (Self, LiveCredentials) {
        let mut cluster = Self::start().await;
        let (auth, trust) = (cluster.auth.clone(), cluster.trust.clone());
        cluster.node("web-1", "web", auth.clone(), trust.clone()).await;
        cluster.node("db-1", "db", auth, trust).await;
        cluster.role("web", json!({"env": "web"})).await;
        cluster.role("all", json!({"*": "*"})).await;
        cluster.upsert(user("alice", &["web"])).await;
        cluster.upsert(user("bob", &["all"])).await;
        let (alice, bob) = (cluster.sign("alice").await, cluster.sign("bob").await);
        // Policy and nodes reach the proxy by themselves; bob sees both.
        for name in ["web-1", "db-1"] {
            eventually(async || cluster.dial(&bob, name).await.is_ok()).await;
        }
        eventually(async || cluster.dial(&alice, "web-1").await.is_ok()).await;
        (cluster, alice)
    }

    pub async fn role(&self, name: &str, labels: Value) {
        let allow = json!({"logins": ["root"], "node_labels": labels});
        self.upsert(
            json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {"allow": allow}}),
        )
        .await;
    }

    pub async fn upsert(&self, resource: Value) {
        let request = UpsertRequest { json: resource.to_string() };
        ResourceServiceClient::new(self.admin.clone()).upsert(request).await.expect("stored");
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        let request = DeleteRequest { kind: kind.into(), name: name.into() };
        ResourceServiceClient::new(self.admin.clone()).delete(request).await.expect("deleted");
    }

    pub async fn sign(&self, user: &str) -> LiveCredentials {
        LiveCredentials::new(self.credentials(user).await).expect("usable")
    }

    pub async fn credentials(&self, user: &str) -> Credentials {
        let key = SubjectKey::generate(&SystemRandom::new()).expect("a key");
        let request = SignUserRequest { user: user.into(), public_key: key.spki_der(), ttl_seconds: 600 };
        let signed = CertificateServiceClient::new(self.admin.clone()).sign_user(request).await;
        let message = signed.expect("signed").into_inner().credentials.expect("there");
        api::convert::credentials(key, message).expect("credentials")
    }

    pub async fn dial(&self, user: &LiveCredentials, host: &str) -> Result<Dialled, DialError> {
        let request = DialRequest { host: host.into(), login: "root".into(), ..DialRequest::default() };
        dial_ssh(&self.proxy, self.trust.clone(), user, &request).await
    }

    /// OpenSSH at the proxy with alice's certificate and the cluster's host authority, and nothing of this machine's
    /// configuration: whether it succeeded, what it wrote, and its errors.
    pub async fn ssh(&self, arguments: &[&str]) -> (bool, String, String) {
        let credentials = self.credentials("alice").await;
        let file = |name: &str, text: &str| {
            let path = self.directory.path().join(name);
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("opens");
            std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
            path.display().to_string()
        };
        let key = file("key", &credentials.key.to_pem().expect("pem"));
        file("key-cert.pub", &credentials.ssh_certificate.line());
        let authority = &credentials.trust.host.ssh_lines()[0];
        let known = file("known_hosts", &format!("@cert-authority * {authority}\n"));
        let child = Command::new("ssh")
            .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .args(["-o", &format!("UserKnownHostsFile={known}"), "-o", "IdentitiesOnly=yes", "-i", &key])
            .args(["-p", &self.proxy.port().to_string(), "-l", "alice"])
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = timeout(PATIENCE, child).await.expect("in time").expect("ssh is installed");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// The first event for which `fits` holds, once auth has it.
    pub async fn event(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let search = async || {
            let found = AuditServiceClient::new(self.admin.clone()).search(SearchRequest::default()).await;
            let events = found.expect("answers").into_inner().events;
            let mut events =
                events.iter().map(|event| serde_json::from_str::<Value>(&event.json).expect("JSON"));
            events.find(&fits)
        };
        eventually(async || search().await.is_some()).await;
        search().await.expect("events stay")
    }

    /// What a series of the proxy's metrics says, if it is there.
    pub fn figure(&self, series: &str) -> Option<u64> {
        let mut text = String::new();
        encode_registry(&mut text, &self.metrics).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map(|number| number.trim().parse().expect("a number"))
    }

    /// Auth goes away.
    pub async fn stop_auth(&mut self) {
        self.auth_stop.cancel();
        self.auth_ended.take().expect("it runs").await.expect("ends");
    }
}

pub fn user(name: &str, roles: &[&str]) -> Value {
    json!({"kind": "user", "version": "v2", "metadata": {"name": name}, "spec": {"roles": roles}})
}

pub fn lock(name: &str, target: Value) -> Value {
    json!({"kind": "lock", "version": "v2", "metadata": {"name": name}, "spec": {"target": target}})
}

async fn start_auth(directory: &Path, shutdown: CancellationToken) -> auth::Running {
    let config = auth::Config {
        data_dir: directory.join("auth"),
        storage: directory.join("auth/store.sqlite"),
        store: store::SqliteOptions::default(),
        cluster_name: ClusterName::new("example.com").expect("a name"),
        listen: loopback().into(),
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
    let health = ServiceHealth::new("auth");
    auth::start(config, health, &mut Registry::default(), shutdown).await.expect("auth starts")
}

/// Says hello and listens, for ever.
async fn listen(listener: TcpListener, received: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            let _ = stream.write_all(BANNER).await;
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                received.lock().expect("lock").extend(&bytes[..count]);
            }
        });
    }
}

/// Asks again and again until the answer is yes.
pub async fn eventually(ask: impl AsyncFn() -> bool) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it never came true");
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn address(socket: SocketAddr) -> HostPort {
    HostPort::parse(&socket.to_string(), 0).expect("an address")
}
