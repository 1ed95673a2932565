//! A node that was taken over: it holds the launcher's socket and says what it likes.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use access::resource::Resource;
use access::resource::cluster::{AuthPreferenceSpec, NetworkingSpec, RecordingSpec};
use access::{ClusterName, HostId, Labels, Login, RoleName, UserName};
use aws_lc_rs::rand::SystemRandom;
use ca::{Authorities, Order};
use exec::{Launch, SessionIo, SessionRequest};
use identity::key::{PublicKey, SubjectKey};
use identity::policy::Policy;
use identity::{Identity, Permits, Subject, UserIdentity};
use jiff::Timestamp;
use launcher::client::Launcher;
use launcher::post::{Parcel, receive};
use launcher::protocol::{AdmissionId, Answer, Denied, Request, Running, Start};
use serde_json::{Value, json};
use ssh::ExchangeRecord;
use ssh::algorithms::{KeyAlgorithm, KeyExchange, SignatureScheme};
use ssh::keys::SigningKey;
use ssh::server::Claim;
use tempfile::TempDir;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const CERTIFIED: KeyAlgorithm = KeyAlgorithm { scheme: SignatureScheme::EcdsaP256, certificate: true };

pub struct Node {
    pub launcher: Launcher,
    pub authorities: Authorities,
    pub directory: TempDir,
    next: std::cell::Cell<u32>,
}

/// A key exchange with a client, and the connection that it is on.
pub struct Session {
    pub record: ExchangeRecord,
    pub id: Vec<u8>,
    pub client: TcpStream,
    pub connection: OwnedFd,
}

/// Somebody's key and certificate.
pub struct User {
    pub key: SigningKey,
    pub certificate: Vec<u8>,
}

/// The account that the tests run as.
pub fn login() -> String {
    let output = Command::new("id").arg("-un").output().expect("runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn cluster() -> ClusterName {
    ClusterName::new("example.com").expect("a name")
}

pub fn authorities() -> Authorities {
    // Old enough for certificates that have expired.
    let then = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    Authorities::generate(&cluster(), then).expect("authorities")
}

pub fn resource(kind: &str, version: &str, name: &str, spec: Value) -> Resource {
    let value = json!({"kind": kind, "version": version, "metadata": {"name": name}, "spec": spec});
    Resource::from_json(value).expect("a resource")
}

pub fn role(options: Value) -> Resource {
    let allow = json!({"logins": [login(), "nobody"], "node_labels": {"env": "prod"}});
    resource("role", "v7", "ops", json!({"options": options, "allow": allow}))
}

pub fn lock() -> Resource {
    resource("lock", "v2", "l", json!({"target": {"user": "alice"}, "message": "stolen"}))
}

/// A policy of `by`, signed by `by`.
pub fn policy(by: &Authorities, revision: i64, age: i64, resources: Vec<Resource>) -> (Vec<u8>, Vec<u8>) {
    let issued_at = Timestamp::from_second(1_790_000_000 - age).expect("a time");
    let mut policy = Policy {
        cluster: cluster(),
        revision,
        issued_at,
        trust: by.trust_bundle(revision),
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
    let payload = policy.to_json();
    let signature = by.sign_policy(&payload).expect("signed");
    (payload, signature)
}

/// A certificate of `by` for alice.
pub fn user(by: &Authorities, logins: &[&str], now: Timestamp) -> User {
    certified(by, logins, now, false)
}

/// The same for this account, with terminals.
pub fn with_terminal(by: &Authorities, login: &str) -> User {
    certified(by, &[login], Timestamp::now(), true)
}

fn certified(by: &Authorities, logins: &[&str], now: Timestamp, pty: bool) -> User {
    let identity = UserIdentity {
        logins: logins.iter().map(|login| Login::new(*login).expect("a login")).collect(),
        permits: Permits { pty, port_forwarding: false, agent_forwarding: false, x11_forwarding: false },
        ..UserIdentity::person(
            UserName::new("alice").expect("a name"),
            vec![RoleName::new("ops").expect("a name")],
        )
    };
    let identity = Identity { cluster: cluster(), subject: Subject::User(Box::new(identity)) };
    let rng = SystemRandom::new();
    let key = SubjectKey::generate(&rng).expect("a key");
    let order = Order {
        identity: &identity,
        public_key: key.public(),
        ssh_public_key: None,
        lifetime: Duration::from_secs(3600),
        extra: &[],
    };
    let issued = by.issue(&order, now, &rng).expect("issued");
    let key = SigningKey::from_pkcs8(&key.pkcs8_der().expect("DER")).expect("a key");
    User { key, certificate: issued.ssh.blob().to_vec() }
}

impl User {
    pub fn of(by: &Authorities) -> Self {
        user(by, &[&login()], Timestamp::now())
    }
}

pub fn put_string(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
    out.extend(part);
}

impl Node {
    /// A launcher that has its first trust and a policy, and a node beside it.
    pub fn start() -> Self {
        Self::with(json!({}), |_| {})
    }

    pub fn with(options: Value, change: impl FnOnce(&mut Start)) -> Self {
        Self::of_program(Path::new(env!("CARGO_BIN_EXE_session-launcher")), options, change)
    }

    /// The same of another program that becomes the launcher.
    pub fn of_program(program: &Path, options: Value, change: impl FnOnce(&mut Start)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut start = Start {
            directory: directory.path().join("launcher"),
            session_exec: testkit::programs::ours("session-exec"),
            host: HostId("11111111-2222-4333-8444-555555555555".parse().expect("an id")),
            labels: Labels::from_iter([("env", "prod")]),
            label_commands: BTreeSet::new(),
            file_copy: true,
            port_forwarding: true,
            pam: None,
            user_env: false,
            session_limits: exec::Limits::capture().entries().to_vec(),
            login_grace: Duration::from_secs(30),
        };
        change(&mut start);
        let node = Self::begin(program, start, directory, authorities());
        let bundle = serde_json::to_vec(&node.authorities.trust_bundle(1)).expect("JSON");
        assert_eq!(node.ask(&Request::Trust(bundle), &[]), Answer::Policy(Ok(1)));
        node.policy(policy(&node.authorities, 5, 100, vec![role(options)])).expect("in force");
        node
    }

    pub fn beside(start: Start, directory: TempDir, authorities: Authorities) -> Self {
        Self::begin(Path::new(env!("CARGO_BIN_EXE_session-launcher")), start, directory, authorities)
    }

    fn begin(program: &Path, start: Start, directory: TempDir, authorities: Authorities) -> Self {
        let launcher = Launcher::start(program, start).expect("starts");
        Self { launcher, authorities, directory, next: std::cell::Cell::new(0) }
    }

    pub fn say(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) {
        let parcel = Parcel::new(request.encode()).expect("packed");
        loop {
            match parcel.send(&self.launcher.socket, descriptors) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("not sent: {error}"),
            }
        }
    }

    pub fn hear(&self) -> Answer {
        self.launcher.hear(PATIENCE).expect("an answer")
    }

    pub fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Answer {
        self.say(request, descriptors);
        self.hear()
    }

    pub fn policy(&self, (payload, signature): (Vec<u8>, Vec<u8>)) -> Result<i64, String> {
        match self.ask(&Request::Policy { payload, signature }, &[]) {
            Answer::Policy(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn number(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// The host key as a client sees it.
    pub fn host_key(&self) -> Vec<u8> {
        let key = PublicKey::from_spki_der(&self.launcher.public_key).expect("a key");
        key.ssh().to_bytes().expect("a blob")
    }

    /// A connection on which keys were exchanged, with nothing signed yet.
    pub fn connection(&self, shown: &[u8]) -> Session {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (connection, _) = listener.accept().expect("accepts");
        let (mut hashed, number) = (Vec::new(), self.number().to_be_bytes());
        for part in [b"SSH-2.0-c", &b"SSH-2.0-s"[..], &number, b"init", shown, &[1; 32], &[2; 32], b"secret"]
        {
            put_string(&mut hashed, part);
        }
        let record = ExchangeRecord::read(KeyExchange::Curve25519, true, &hashed).expect("a key exchange");
        let id = record.hash();
        Session { record, id, client, connection: connection.into() }
    }

    pub fn sign(&self, hashed: &[u8]) -> Result<Vec<u8>, String> {
        let (ask, key_exchange) = (self.number(), KeyExchange::Curve25519);
        let request = Request::Sign { ask, key_exchange, is_first: true, hashed: hashed.to_vec() };
        match self.ask(&request, &[]) {
            Answer::Signed(answered, outcome) if answered == ask => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// A connection whose key exchange was signed.
    pub fn session(&self) -> Session {
        let session = self.connection(&self.host_key());
        self.sign(session.record.hashed()).expect("signed");
        session
    }

    /// What the user's client would sign in this session.
    pub fn proof(&self, user: &User, login: &str, session: &[u8], is_host_bound: bool) -> Vec<u8> {
        let blob = &user.certificate;
        let claim = Claim { login, algorithm: CERTIFIED, blob, is_host_bound, signature: &[] };
        let signed = claim.in_session(session, &self.host_key()).signed().to_vec();
        user.key.sign(SignatureScheme::EcdsaP256, &signed).expect("signed")
    }

    pub fn authenticate(
        &self,
        user: &User,
        login: &str,
        session: &Session,
        signature: Vec<u8>,
    ) -> Result<AdmissionId, Denied> {
        self.authenticate_as(CERTIFIED, &user.certificate, login, session, signature, false)
    }

    pub fn authenticate_as(
        &self,
        algorithm: KeyAlgorithm,
        blob: &[u8],
        login: &str,
        session: &Session,
        signature: Vec<u8>,
        is_host_bound: bool,
    ) -> Result<AdmissionId, Denied> {
        let request = Request::Authenticate {
            ask: self.number(),
            session: session.id.clone(),
            login: login.to_owned(),
            algorithm,
            blob: blob.to_vec(),
            is_host_bound,
            signature,
            locks_fresh: true,
        };
        match self.ask(&request, &[session.connection.as_fd()]) {
            Answer::Judged(_, outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// As an honest node does it.
    pub fn log_in(&self, user: &User) -> (Session, AdmissionId) {
        self.log_in_as(user, &login())
    }

    /// The same as this account.
    pub fn log_in_as(&self, user: &User, login: &str) -> (Session, AdmissionId) {
        let session = self.session();
        let signature = self.proof(user, login, &session.id, false);
        let admission = self.authenticate(user, login, &session, signature).expect("admitted");
        (session, admission)
    }

    /// The code with which somebody is refused who proves everything else.
    pub fn refused(&self, user: &User, login: &str) -> String {
        let session = self.session();
        let signature = self.proof(user, login, &session.id, false);
        self.authenticate(user, login, &session, signature).expect_err("refused").code
    }

    pub fn launch(
        &self,
        admission: AdmissionId,
        connection: &OwnedFd,
        request: &SessionRequest,
    ) -> Result<(Running, SessionIo), Denied> {
        self.launch_bytes(admission, connection, request, request.encode().expect("a request"))
    }

    /// The same, with other bytes for the launcher.
    pub fn launch_bytes(
        &self,
        admission: AdmissionId,
        connection: &OwnedFd,
        request: &SessionRequest,
        bytes: Vec<u8>,
    ) -> Result<(Running, SessionIo), Denied> {
        let (io, theirs) = SessionIo::open(request).expect("opened");
        let running = self.launch_all(admission, connection, bytes, &theirs);
        running.map(|running| (running, io))
    }

    /// With these descriptors, whatever they are of.
    pub fn launch_with(
        &self,
        admission: AdmissionId,
        connection: &OwnedFd,
        request: &SessionRequest,
        theirs: &[OwnedFd],
    ) -> Result<Running, Denied> {
        self.launch_all(admission, connection, request.encode().expect("a request"), theirs)
    }

    fn launch_all(
        &self,
        admission: AdmissionId,
        connection: &OwnedFd,
        request: Vec<u8>,
        theirs: &[OwnedFd],
    ) -> Result<Running, Denied> {
        let ask = self.number();
        let asked = Request::Launch { ask, admission, locks_fresh: true, request };
        let descriptors: Vec<_> =
            std::iter::once(connection.as_fd()).chain(theirs.iter().map(AsFd::as_fd)).collect();
        self.say(&asked, &descriptors);
        loop {
            match self.hear() {
                Answer::Launched(answered, outcome) if answered == ask => return outcome,
                // Of an earlier one.
                Answer::Ended(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What `line` prints when it is run by an honest node.
    pub fn runs(&self, user: &User, line: &str) -> String {
        let (session, admission) = self.log_in(user);
        let request = SessionRequest::new(login(), Launch::Command(line.into()));
        let (running, io) = self.launch(admission, &session.connection, &request).expect("runs");
        let output = output(io);
        match self.hear() {
            Answer::Ended(ended, _) if ended == running.session => {}
            other => panic!("{other:?}"),
        }
        self.say(&Request::Release(running.session), &[]);
        self.say(&Request::Close(admission), &[]);
        output
    }

    /// Whether the launcher has ended by itself, and how.
    pub fn ended(mut self) -> std::process::ExitStatus {
        while receive(&self.launcher.socket, &mut Vec::new()).is_ok() {}
        let Launcher { process, .. } = &mut self.launcher;
        process.wait().expect("a child")
    }
}

/// Everything that a session prints until the last of its processes is gone.
pub fn output(io: SessionIo) -> String {
    let SessionIo::Pipes { stdin, stdout, .. } = io else { panic!("pipes") };
    drop(stdin);
    rustix::io::ioctl_fionbio(&stdout, false).expect("a pipe");
    let mut text = String::new();
    std::fs::File::from(stdout).read_to_string(&mut text).expect("text");
    text
}
