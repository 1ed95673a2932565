//! A node with a policy and certificates made for the test, and OpenSSH's clients to reach it with.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod agent;
pub mod client;
pub mod display;
pub mod forwarding;
pub mod pipe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::resource::Resource;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::{ClusterName, HostId, Login, NodeName, RoleName, UserName};
use aws_lc_rs::signature::Ed25519KeyPair;
use identity::policy::{Policy, Signed};
use identity::ssh::{Claims, SshCertificate};
use identity::trust::Authority;
use identity::{Identity, Permits, Subject, TrustBundle, UserIdentity};
use jiff::Timestamp;
use node::{Config, Host, Launcher, LauncherProcess, Metrics, Running};
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;
use uuid::Uuid;

pub const CLUSTER: &str = "example.com";
pub const NODENAME: &str = "web-1";

/// A directory with the cluster's authorities, another cluster's, and a host key for other servers.
pub struct Pki {
    dir: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a directory") };
        for ca in ["host_ca", "user_ca", "other_ca"] {
            pki.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", ca]);
        }
        pki.keygen(&["-q", "-t", "ecdsa", "-m", "PKCS8", "-N", "", "-f", "host"]);
        let names = format!("{NODENAME},localhost");
        pki.keygen(&["-q", "-s", "host_ca", "-h", "-I", "host", "-n", &names, "-V", "-1m:+1h", "host.pub"]);
        let known = format!("@cert-authority * {}", pki.read("host_ca.pub"));
        std::fs::write(pki.path("known_hosts"), known).expect("written");
        pki
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file of the fixture")
    }

    pub fn keygen(&self, args: &[&str]) {
        let output =
            Command::new("ssh-keygen").args(args).current_dir(self.dir.path()).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A certificate over the host key of a launcher.
    pub fn host_certificate(&self, launcher: &Launcher) -> SshCertificate {
        let line = launcher.public_key().ssh().to_openssh().expect("a line");
        std::fs::write(self.path("launched.pub"), line).expect("written");
        let names = format!("{NODENAME},localhost");
        self.keygen(&[
            "-q",
            "-s",
            "host_ca",
            "-h",
            "-I",
            "host",
            "-n",
            &names,
            "-V",
            "-1m:+1h",
            "launched.pub",
        ]);
        SshCertificate::from_line(self.read("launched-cert.pub").trim_end()).expect("a certificate")
    }

    /// A policy that the host authority has signed.
    pub fn sign(&self, policy: Policy) -> Arc<Signed> {
        let key = ssh_key::PrivateKey::from_openssh(self.read("host_ca")).expect("a key");
        let seed = key.key_data().ed25519().expect("an Ed25519 key").private.to_bytes();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
        let payload = policy.to_json();
        let made = pair.sign(&identity::policy::sign_statement(&payload));
        let mut signature = Vec::new();
        for part in [&b"ssh-ed25519"[..], made.as_ref()] {
            signature.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
            signature.extend(part);
        }
        Arc::new(Signed { policy: Arc::new(policy), payload, signature })
    }

    /// A key with a certificate for this identity, in files of this name.
    pub fn certify(&self, name: &str, user: UserIdentity, change: impl FnOnce(&mut Certify<'_>)) {
        let identity = Identity {
            cluster: ClusterName::new(CLUSTER).expect("a name"),
            subject: Subject::User(Box::new(user)),
        };
        let claims = Claims::of(&identity, Uuid::nil());
        let mut certify =
            Certify { authority: "user_ca", validity: "-1m:+1h", claims, host: false, more: Vec::new() };
        change(&mut certify);
        self.keygen(&["-q", "-t", "ecdsa", "-m", "PKCS8", "-N", "", "-f", name]);
        let Certify { authority, validity, claims, host, more } = certify;
        let principals = claims.principals.join(",");
        let mut args: Vec<String> =
            ["-q", "-s", authority, "-I", &claims.key_id, "-n", &principals, "-V", validity]
                .map(str::to_owned)
                .into();
        if host {
            args.push("-h".to_owned());
        } else {
            args.extend(["-O", "clear"].map(str::to_owned));
        }
        for (name, value) in claims.extensions {
            args.push("-O".to_owned());
            args.push(match (value.as_str(), name.as_str()) {
                ("", name) if name.starts_with("permit-") => name.to_owned(),
                ("", name) => format!("extension:{name}"),
                (value, name) => format!("extension:{name}={value}"),
            });
        }
        for (name, value) in claims.critical_options {
            args.extend(["-O".to_owned(), format!("{name}={value}")]);
        }
        args.extend(more);
        args.push(format!("{name}.pub"));
        self.keygen(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Any of OpenSSH's clients on its way to `server`, with nothing from the machine's configuration.
    pub fn client(&self, program: &str, server: SocketAddr, name: &str) -> Command {
        let mut client = Command::new(program);
        let path = |name: &str| self.path(name).display().to_string();
        for option in [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            "LogLevel=INFO".to_owned(),
            format!("UserKnownHostsFile={}", path("known_hosts")),
            format!("HostKeyAlias={NODENAME}"),
            format!("Hostname={}", server.ip()),
            format!("Port={}", server.port()),
            format!("IdentityFile={}", path(name)),
            format!("CertificateFile={}", path(&format!("{name}-cert.pub"))),
        ] {
            client.arg("-o").arg(option);
        }
        client.args(["-F", "/dev/null"]).stdin(Stdio::null());
        client
    }

    pub fn trust(&self) -> TrustBundle {
        let authority = |file: &str| Authority {
            ssh: vec![ssh_key::PublicKey::from_openssh(&self.read(file)).expect("a key")],
            tls: vec![],
        };
        let mut trust = TrustBundle::empty(ClusterName::new(CLUSTER).expect("a name"));
        trust.host = authority("host_ca.pub");
        trust.user = authority("user_ca.pub");
        trust
    }
}

/// What is about to be signed.
pub struct Certify<'a> {
    pub authority: &'a str,
    pub validity: &'a str,
    pub claims: Claims,
    pub host: bool,
    pub more: Vec<String>,
}

/// The account that tests log in to: the one that they run as.
pub fn login() -> String {
    let output = Command::new("id").arg("-un").output().expect("runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Somebody with the role `ops` who may be whoever the tests run as.
pub fn user(name: &str) -> UserIdentity {
    UserIdentity {
        logins: vec![Login::new(login()).expect("a login"), Login::new("stranger").expect("a login")],
        permits: Permits { pty: true, port_forwarding: true, agent_forwarding: false, x11_forwarding: false },
        ..UserIdentity::person(
            UserName::new(name).expect("a name"),
            vec![RoleName::new("ops").expect("a name")],
        )
    }
}

pub fn resource(kind: &str, version: &str, name: &str, spec: Value) -> Resource {
    let value = json!({"kind": kind, "version": version, "metadata": {"name": name}, "spec": spec});
    Resource::from_json(value).expect("a resource")
}

/// The role `ops`: every login of the tests on nodes of `env: prod`, with options.
pub fn ops(options: Value) -> Resource {
    let allow = json!({"logins": [login(), "no-such-account"], "node_labels": {"env": "prod"}});
    resource("role", "v7", "ops", json!({"options": options, "allow": allow}))
}

pub fn lock(target: Value) -> Resource {
    resource("lock", "v2", "l", json!({"target": target, "message": "stolen"}))
}

/// A policy of these roles and locks.
pub fn policy(pki: &Pki, revision: i64, resources: impl IntoIterator<Item = Resource>) -> Policy {
    let mut policy = Policy {
        cluster: ClusterName::new(CLUSTER).expect("a name"),
        revision,
        issued_at: Timestamp::now(),
        trust: pki.trust(),
        roles: Vec::new(),
        locks: Vec::new(),
        networking: NetworkingSpec::default(),
        recording: RecordingSpec::default(),
        auth_preference: AuthPreferenceSpec::default(),
    };
    for resource in resources {
        match resource {
            Resource::Role(role) => policy.roles.push(*role),
            Resource::Lock(lock) => policy.locks.push(lock),
            other => panic!("not for a policy: {other:?}"),
        }
    }
    policy
}

/// A node that serves, and what it reports.
pub struct Fixture {
    pub pki: Pki,
    pub address: SocketAddr,
    pub policy: watch::Sender<Arc<Signed>>,
    pub silence: Arc<Mutex<Duration>>,
    pub shutdown: CancellationToken,
    pub running: Option<Running>,
    pub report: Arc<Mutex<Option<api::v1::NodeReport>>>,
    metrics: Metrics,
    events: Arc<watch::Sender<Vec<Map<String, Value>>>>,
}

impl Fixture {
    /// With the role `ops` and a user `alice`.
    pub async fn start() -> Self {
        Self::start_with(json!({}), |_| {}).await
    }

    pub async fn start_with(options: Value, change: impl FnOnce(&mut Config)) -> Self {
        let pki = Pki::new();
        pki.certify("alice", user("alice"), |_| {});
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let helper = testkit::programs::ours("session-exec");
        let mut config = Config::new(listen, NodeName::new(NODENAME).expect("a name"), helper);
        config.labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        change(&mut config);
        let id = HostId(Uuid::from_u128(7));
        let start = config.launcher(id, pki.path("launcher"));
        let program = testkit::programs::ours("session-launcher");
        let process = LauncherProcess::start(&program, start).expect("a launcher");
        let launcher = Launcher::new(process).expect("a launcher");
        let credentials = launcher.shows(pki.host_certificate(&launcher)).expect("about its key");
        let (policy, policies) = watch::channel(pki.sign(policy(&pki, 1, [ops(options)])));
        let events = Arc::new(watch::Sender::new(Vec::new()));
        let silence = Arc::new(Mutex::new(Duration::ZERO));
        let report = Arc::new(Mutex::new(None));
        let host = Host {
            id,
            trust: pki.trust(),
            policy: policies,
            credentials: watch::channel(Arc::new(credentials)).1,
            backlog: Arc::new(|| 0),
            silence: {
                let silence = Arc::clone(&silence);
                Arc::new(move || *silence.lock().expect("a lock"))
            },
            audit: {
                let events = Arc::clone(&events);
                Arc::new(move |event| events.send_modify(|events| events.push(event)))
            },
            report: {
                let report = Arc::clone(&report);
                Arc::new(move |said| *report.lock().expect("a lock") = Some(said))
            },
        };
        let shutdown = CancellationToken::new();
        let (health, metrics) = (ServiceHealth::new("node"), Metrics::default());
        let running = node::start(config, host, launcher, metrics.clone(), health, shutdown.clone())
            .await
            .expect("starts");
        let address = running.address();
        Self { pki, address, policy, silence, shutdown, running: Some(running), report, metrics, events }
    }

    /// Changes the policy in force.
    pub fn set_policy(&self, resources: impl IntoIterator<Item = Resource>) {
        self.set_policy_with(resources, |_| {});
    }

    /// Changes the policy in force, the cluster's settings too.
    pub fn set_policy_with(
        &self,
        resources: impl IntoIterator<Item = Resource>,
        change: impl FnOnce(&mut Policy),
    ) {
        let revision = self.policy.borrow().policy.revision + 1;
        let mut policy = policy(&self.pki, revision, resources);
        change(&mut policy);
        self.put(policy);
    }

    /// Puts a policy in force and waits until it is.
    pub fn put(&self, policy: Policy) {
        let revision = policy.revision;
        self.policy.send_replace(self.pki.sign(policy));
        let mut followed = self.running.as_ref().expect("runs").policies();
        let in_force = followed.wait_for(|policy| policy.revision >= revision);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(in_force).map(drop))
            .expect("the node runs");
    }

    /// `ssh` as `name` to the account that the tests run as.
    pub fn ssh(&self, name: &str) -> Command {
        self.client("ssh", name)
    }

    /// Any of OpenSSH's clients.
    pub fn client(&self, program: &str, name: &str) -> Command {
        self.pki.client(program, self.address, name)
    }

    /// Runs one command line as alice.
    pub async fn run(&self, line: &str) -> Output {
        let mut ssh = self.ssh("alice");
        ssh.args([NODENAME, line]);
        run(ssh).await
    }

    /// Whether there is such an event by now.
    pub fn saw(&self, name: &str, fits: impl Fn(&Map<String, Value>) -> bool) -> bool {
        self.events.borrow().iter().any(|event| event["event"] == name && fits(event))
    }

    /// How many events of this name there are by now for sessions with this command.
    pub fn count(&self, name: &str, command: &str) -> usize {
        let fits = |event: &&Map<String, Value>| {
            event["event"] == name && event.get("initial_command") == Some(&json!([command]))
        };
        self.events.borrow().iter().filter(fits).count()
    }

    /// The names of the events so far that fit, in order.
    pub fn order(&self, fits: impl Fn(&Map<String, Value>) -> bool) -> Vec<String> {
        let events = self.events.borrow();
        let names = events.iter().filter(|event| fits(event)).map(|event| &event["event"]);
        names.map(|name| name.as_str().expect("text").to_owned()).collect()
    }

    /// How often the node has refused for this reason.
    pub fn refusals(&self, reason: &str) -> u64 {
        self.counted(&format!("node_refused_total{{reason=\"{reason}\"}}")).unwrap_or(0)
    }

    /// How many connections have logged in over this key exchange.
    pub fn logins(&self, key_exchange: &str) -> u64 {
        let series = format!("node_key_exchanges_total{{key_exchange=\"{key_exchange}\"}}");
        self.counted(&series).expect("a series of its own")
    }

    fn counted(&self, series: &str) -> Option<u64> {
        let (mut registry, mut text) = (Registry::default(), String::new());
        self.metrics.register(&mut registry);
        encode_registry(&mut text, &registry).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map(|number| number.trim().parse().expect("a number"))
    }

    /// The first event of this name for which `fits` holds.
    pub async fn event(&self, name: &str, fits: impl Fn(&Map<String, Value>) -> bool) -> Map<String, Value> {
        let mut events = self.events.subscribe();
        let wanted = |event: &&Map<String, Value>| event["event"] == name && fits(event);
        let found = events.wait_for(|events| events.iter().any(|event| wanted(&event)));
        // Whether only: what a watch lends must not be held while it is borrowed again, or a writer between the two stops
        // both.
        let found = tokio::time::timeout(Duration::from_secs(20), found).await.is_ok_and(|seen| seen.is_ok());
        let seen = self.events.borrow().clone();
        match found {
            true => seen.iter().find(wanted).cloned().expect("found just now"),
            false => panic!("no event {name}; there are {seen:#?}"),
        }
    }
}

/// Runs a command on a thread of its own.
pub async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for something that another process does.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}
