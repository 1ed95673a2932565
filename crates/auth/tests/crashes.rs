//! Row J3: auth is killed at any point of its first start, of joins and of renewals. Whoever retries gets what it asked
//! for: no token is burned, none is used twice, nobody is locked out.

mod harness;

use access::HostPort;
use api::status::Problem;
use harness::{Auth, Bound, Joiner, MovedClock, config, confirm, generation, instance, key, renew};
use identity::{Credentials, Pin};
use jiff::SignedDuration;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::Clock as _;
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;
use transport::rpc::{Channel, connect_auth, connect_join};
use transport::{LiveCredentials, ServerTrust};

const DIRECTORY: &str = "POSTERN_TEST_CRASHING_AUTH";

/// Not a test: what the others kill. Says where it serves in a file, and serves until then.
#[tokio::test]
#[ignore = "the tests beside it start it as a process of its own"]
async fn crashing_auth() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = PathBuf::from(directory);
    let mut registry = prometheus_client::registry::Registry::default();
    let clock = Arc::<MovedClock>::default();
    let stop = CancellationToken::new();
    let running =
        auth::start(config(&directory, &clock), ServiceHealth::new("auth"), &mut registry, stop.clone());
    let running = running.await.expect("starts");
    let draft = directory.join("addr.new");
    std::fs::write(&draft, running.addr.port().to_string()).expect("writes");
    std::fs::rename(draft, directory.join("addr")).expect("renames");
    running.finished(stop).await;
}

/// An auth in a process of its own.
struct Victim(Child);

impl Victim {
    fn start(directory: &Path) -> Self {
        let _ = std::fs::remove_file(directory.join("addr"));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "crashing_auth", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("starts"))
    }

    /// Waits until it serves.
    async fn serves(&mut self, directory: &Path) {
        while address(directory).is_none() {
            assert!(self.0.try_wait().expect("is a child").is_none(), "auth ended by itself");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn kill(mut self) {
        self.0.kill().expect("is killed");
        self.0.wait().expect("is gone");
    }
}

fn address(directory: &Path) -> Option<HostPort> {
    let port = std::fs::read_to_string(directory.join("addr")).ok()?.parse().ok()?;
    HostPort::new("127.0.0.1", port).ok()
}

/// Numbers that look random and are the same in each run.
struct Numbers(AtomicU64);

impl Numbers {
    fn below(&self, end: u64) -> u64 {
        let mixed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % end
    }
}

#[tokio::test]
async fn a_first_start_can_be_killed_anywhere() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let path = directory.path();
    for micros in (0..90_000).step_by(6_000) {
        let victim = Victim::start(path);
        tokio::time::sleep(Duration::from_micros(micros)).await;
        victim.kill();
    }
    let auth = Auth::start_in(directory, Arc::default(), |_| {}).await.expect("starts in the end");
    auth.joined_bot("ci").await;
    assert_eq!(auth.events("cluster.create").await.len(), 1);
    assert_eq!(auth.core().catalog.view().roles.len(), 4, "three presets and the bot's");
}

/// An agent that keeps what it must: its key before it asks, the answer before it goes on.
struct Agent {
    directory: PathBuf,
    pins: Vec<Pin>,
    joiner: Joiner,
}

impl Agent {
    /// Joins and renews so many times, whatever happens to auth.
    async fn live(self, renewals: u64) -> Credentials {
        let mut own = self.insist(|| self.join()).await;
        for _ in 0..renewals {
            let next = key();
            own = self.insist(|| async { renew(self.member(&own)?, &next).await }).await;
            self.insist(|| async { confirm(self.member(&own)?).await }).await;
        }
        own
    }

    /// Joins so many times as a stranger with its key, each time renews twice over what it got, and gives the last and the
    /// key. It offers another key each time.
    async fn comes_back(mut self, joins: u32) -> (Credentials, String) {
        let mut own = None;
        for _ in 0..joins {
            self.next();
            let (credentials, kept) =
                self.insist(|| async { self.joiner.join_with_state(self.stranger()?).await }).await;
            self.bound().keep(kept);
            let mut current = credentials;
            for _ in 0..2 {
                self.next();
                let (credentials, kept) =
                    self.insist(|| async { self.joiner.join_with_state(self.member(&current)?).await }).await;
                self.bound().keep(kept);
                current = credentials;
            }
            own = Some(current);
        }
        (own.expect("it joins at least once"), self.bound().key.public().to_openssh())
    }

    fn next(&mut self) {
        self.joiner = self.joiner.next();
        self.bound().next = Some(key());
    }

    fn bound(&mut self) -> &mut Bound {
        self.joiner.bound.as_mut().expect("has a key")
    }

    fn stranger(&self) -> Result<Channel, Problem> {
        Ok(connect_join(&self.addr()?, ServerTrust::pins(self.pins.clone())))
    }

    /// Again and again, until there is an answer; a refusal that is not passing is a failure of the test.
    async fn insist<T, F: Future<Output = Result<T, Problem>>>(&self, ask: impl Fn() -> F) -> T {
        loop {
            match tokio::time::timeout(Duration::from_secs(5), ask()).await {
                Ok(Ok(answer)) => return answer,
                // A challenge of the process before means nothing to this one.
                Ok(Err(problem)) if problem.class.is_transient() || problem.code == "challenge_foreign" => {}
                Ok(Err(problem)) => panic!("refused: {} {problem}", problem.code),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn join(&self) -> Result<Credentials, Problem> {
        self.joiner.join(self.stranger()?).await
    }

    fn member(&self, credentials: &Credentials) -> Result<Channel, Problem> {
        let live = LiveCredentials::new(credentials.clone()).expect("credentials fit");
        Ok(connect_auth(&self.addr()?, &live))
    }

    fn addr(&self) -> Result<HostPort, Problem> {
        let away = Problem::new(api::status::Class::Unavailable, "away", "auth is away");
        address(&self.directory).ok_or(away)
    }
}

/// Starts auth and kills it, until the agents have what they want or it was enough. Gives the one that lives.
async fn killed_again_and_again<T>(path: &Path, agents: &[tokio::task::JoinHandle<T>]) -> Victim {
    const KILLS: u64 = 40;
    let numbers = Numbers(AtomicU64::new(7));
    let mut kills = 0;
    while kills < KILLS && !agents.iter().all(tokio::task::JoinHandle::is_finished) {
        let mut victim = Victim::start(path);
        victim.serves(path).await;
        tokio::time::sleep(Duration::from_micros(numbers.below(40_000))).await;
        victim.kill();
        kills += 1;
    }
    assert!(kills >= 5, "they were through before it began");
    let mut last = Victim::start(path);
    last.serves(path).await;
    last
}

/// Each token lets its holder join exactly as often as it does: an answer that is lost must neither count twice nor look
/// like a copy. Each token asks for another key than the one of the first join, and its holder is never without a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_of_bound_keys_survive_kills() {
    const HOLDERS: usize = 4;
    const JOINS: u32 = 6;
    let (directory, clock) =
        (Arc::new(tempfile::tempdir().expect("a directory")), Arc::<MovedClock>::default());
    let hour = SignedDuration::from_hours(1);
    let rotate_after = (clock.now() - hour / 2).to_string();
    clock.advance(-hour);
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    auth.bot("ci").await;
    let secret = "0123456789abcdef";
    let mut joiners = vec![];
    for n in 0..HOLDERS {
        auth.put(json!({"kind": "token", "version": "v2", "metadata": {"name": format!("holder-{n}")},
            "spec": {"roles": ["Bot"], "bot_name": "ci", "join_method": "bound_keypair", "bound_keypair": {
                "onboarding": {"registration_secret": secret}, "recovery": {"limit": JOINS},
                "rotate_after": rotate_after}}}))
            .await;
        let mut joiner = Joiner::bound(&format!("holder-{n}"), secret);
        joiner.join_and_keep(auth.stranger()).await.expect("joins");
        joiners.push(joiner);
    }
    let pins = auth.pins.clone();
    let (directory, clock) = auth.stop().await;
    let path = directory.path().to_owned();
    clock.advance(hour);
    let agents = joiners.into_iter().map(|joiner| {
        tokio::spawn(Agent { directory: path.clone(), pins: pins.clone(), joiner }.comes_back(JOINS - 1))
    });
    let agents: Vec<_> = agents.collect();
    let last = killed_again_and_again(&path, &agents).await;
    let mut keys = vec![];
    for agent in agents {
        let (own, key) = agent.await.expect("the agent lives through it");
        assert_eq!(generation(&own), Some(3));
        keys.push(key);
    }
    last.kill();
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    assert_eq!(auth.instances("ci").await.len(), HOLDERS, "each is one instance");
    assert!(auth.core().catalog.view().locks.is_empty(), "nobody was taken for a thief");
    let tokens = auth.core().catalog.all(auth::catalog::layout::kind(access::resource::Kind::Token)).await;
    for entry in tokens.expect("reads") {
        let token = auth.core().tokens.open(&entry).expect("a token");
        let status = token.status.expect("has a holder");
        assert_eq!(status.recovery_count, JOINS);
        assert!(status.previous_public_key.is_some(), "it was replaced");
        assert!(keys.contains(&status.bound_public_key.expect("is bound")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_renewals_survive_kills() {
    const BOTS: usize = 6;
    const RENEWALS: u64 = 20;
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let pins = auth.pins.clone();
    let mut joiners = vec![];
    for n in 0..BOTS {
        joiners.push(Joiner::bot(&auth.bot_token("ci").await));
        joiners.push(Joiner::node(&format!("web-{n}")));
    }
    let (directory, clock) = auth.stop().await;
    let path = directory.path().to_owned();
    let agents = joiners.into_iter().map(|joiner| {
        let renewals = if joiner.role == "Bot" { RENEWALS } else { 0 };
        let agent = Agent { directory: path.clone(), pins: pins.clone(), joiner };
        tokio::spawn(agent.live(renewals))
    });
    let agents: Vec<_> = agents.collect();
    let last = killed_again_and_again(&path, &agents).await;
    let mut instances = BTreeSet::new();
    for agent in agents {
        let own = agent.await.expect("the agent lives through it");
        if own.identity().user().is_some() {
            assert_eq!(generation(&own), Some(RENEWALS + 1));
            instances.insert(instance(&own));
        }
    }
    last.kill();
    assert_eq!(instances.len(), BOTS);
    let auth = Auth::start_in(directory, clock, |_| {}).await.expect("starts");
    assert_eq!(auth.instances("ci").await.len(), BOTS, "nobody joined twice");
    assert!(auth.core().catalog.view().locks.is_empty(), "nobody was taken for a thief");
    let tokens = auth.core().catalog.all(auth::catalog::layout::kind(access::resource::Kind::Token)).await;
    assert!(tokens.expect("reads").is_empty(), "every token was spent");
    let verified = auth.core().audit().verify().await.expect("verifies");
    assert!(matches!(verified, store::Verification::Intact(_)), "{verified:?}");
}
