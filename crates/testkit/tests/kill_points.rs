//! Agent and auth service are killed at every system call that matters of joining, renewing and writing: before each file that is
//! opened, written, synced, renamed, linked or removed, before each thing that is sent or received. After each kill they are started
//! again and work: nobody is locked out, no token is burned, no reader ever sees a key with a certificate of another.
//!
//! `make test` kills at a sample of the points; `scripts/kill-points` at all of them.

use identity::{Credentials, file, pem};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use testkit::{Bot, Cluster, KillPoint, Layout, Outcome, run, until};

/// What an agent does to files, and to its connection.
const OF_AGENTS: [&str; 19] = [
    "openat",
    "openat2",
    "mkdirat",
    "write",
    "fsync",
    "fdatasync",
    "renameat",
    "renameat2",
    "symlinkat",
    "unlinkat",
    "readlinkat",
    "getdents64",
    "fchmod",
    "fsetxattr",
    "flock",
    "connect",
    "sendto",
    "writev",
    "recvfrom",
];
/// What auth does, in SQLite and to its connections.
const OF_AUTH: [&str; 17] = [
    "openat",
    "mkdir",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "link",
    "linkat",
    "unlink",
    "ftruncate",
    "fcntl",
    "accept4",
    "recvfrom",
    "sendto",
    "writev",
];
/// One point in so many is tried by `make test`.
const SAMPLE: u32 = 29;
/// Every point.
const ALL: u32 = 1;

/// Tries `calls`, each at its first, second, ... occurrence, until `attempt` says that there are no more of it. Gives how many kills
/// there were by call.
fn sweep(calls: &[&'static str], step: u32, mut attempt: impl FnMut(KillPoint) -> bool) -> Tally {
    let mut tally = Tally::default();
    for (at, call) in calls.iter().copied().enumerate() {
        // A sample is not made of the first ones alone.
        let mut nth = 1 + (at as u32 * 3) % step;
        while attempt(KillPoint { call, nth }) {
            *tally.0.entry(call).or_default() += 1;
            nth += step;
        }
    }
    tally
}

/// Kills by call.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u32>);

impl Tally {
    fn told(self, what: &str) -> u32 {
        let all = self.0.values().sum();
        eprintln!("{what}: {all} points, all recovered; {:?}", self.0);
        all
    }
}

fn killed(outcome: &Outcome) -> bool {
    outcome.status.signal() == Some(9)
}

/// Reads the files of an output again and again, as programs do that use them.
struct Reader {
    output: Arc<Mutex<PathBuf>>,
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start() -> Self {
        let (output, stop, seen) = <(Arc<Mutex<PathBuf>>, Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let thread = std::thread::spawn({
            let (output, stop, seen) = (Arc::clone(&output), Arc::clone(&stop), Arc::clone(&seen));
            move || {
                while !stop.load(Ordering::Acquire) {
                    let output = output.lock().expect("no panic").clone();
                    match whole_set(&output) {
                        Some(_) => _ = seen.fetch_add(1, Ordering::Release),
                        None => std::thread::yield_now(),
                    }
                }
            }
        });
        Self { output, stop, seen, thread: Some(thread) }
    }

    /// From now on it reads there.
    fn turn_to(&self, output: &Path) {
        output.clone_into(&mut self.output.lock().expect("no panic"));
    }

    fn finish(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("once").join().expect("every set that was read is one");
        let seen = self.seen.load(Ordering::Acquire);
        eprintln!("the reader saw {seen} sets, each of them whole");
        assert!(seen > 0);
    }
}

/// The set in force; `None` while nothing was written yet. Panics when its parts are not of one set.
fn whole_set(output: &Path) -> Option<Credentials> {
    let generation = output.join(std::fs::read_link(output.join(".current")).ok()?);
    let read =
        |name: &str| std::fs::read_to_string(generation.join(name)).expect("a set in force has every file");
    // The bundle's own parts are held against each other when it is read.
    let set = file::decode(&read("identity")).expect("the bundle is whole");
    assert_eq!(read("key"), *set.key.to_sec1_pem().expect("a key"), "key is of another set");
    assert_eq!(
        read("key-cert.pub").trim(),
        set.ssh_certificate.line().trim(),
        "key-cert.pub is of another set"
    );
    assert_eq!(read("tlscert"), pem::certificate(&set.tls_chain[0]), "tlscert is of another set");
    Some(set)
}

/// What is true after anything.
fn nobody_was_harmed(cluster: &Cluster, instances: usize) {
    let locks = cluster.tctl(&["get", "locks", "--format=json"]).ok();
    assert!(!locks.contains("bot_instance_id"), "nobody is locked out: {locks}");
    let known = cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    assert_eq!(known.matches("\"instance_id\"").count(), instances, "each joined once");
    cluster.tctl(&["events", "verify"]).ok();
}

fn one_time_token(cluster: &Cluster) -> String {
    let added = cluster.tctl(&["bots", "instances", "add", "tester", "--format=json"]).ok();
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    added["token_id"].as_str().expect("a token").to_owned()
}

/// A token for one holder of a key, who may join once.
fn bound_token(cluster: &Cluster, name: &str) -> String {
    cluster.create(&format!(
        "kind: token\nversion: v2\nmetadata: {{name: {name}}}\nspec:\n  roles: [Bot]\n  bot_name: tester\n  \
         join_method: bound_keypair\n  bound_keypair: {{onboarding: {{registration_secret: 0123456789abcdef}}, \
         recovery: {{limit: 1}}}}\n"
    ));
    format!(
        "join_method: bound_keypair, token: {name}, bound_keypair: {{registration_secret: 0123456789abcdef}}"
    )
}

/// A cluster, and agents that are made as they are needed.
struct Stage {
    cluster: Cluster,
    server: String,
    pin: String,
    bots: usize,
}

impl Stage {
    fn with_proxy() -> Self {
        let cluster = Cluster::start(Layout::OneProcess);
        let server = cluster.endpoint("proxy");
        Self::new(cluster, server)
    }

    fn new(cluster: Cluster, server: String) -> Self {
        cluster.role("tester", "[root]", "{env: test}");
        cluster.tctl(&["bots", "add", "tester", "--roles=tester"]).ok();
        let pin = cluster.pin();
        Self { cluster, server, pin, bots: 0 }
    }

    fn next(&mut self) -> String {
        self.bots += 1;
        format!("n{}", self.bots)
    }

    /// An agent with a one-time token.
    fn bot(&mut self) -> Bot {
        let name = self.next();
        Bot::new(self.cluster.path(), &name, &one_time_token(&self.cluster), &self.server, &self.pin)
    }

    /// An agent with a key of its own.
    fn holder(&mut self) -> Bot {
        let name = self.next();
        let joining = bound_token(&self.cluster, &name);
        let bot = Bot::new(self.cluster.path(), &name, "", &self.server, &self.pin);
        bot.configure_joining(&joining, &self.pin, "");
        bot
    }

    /// An agent that speaks with auth itself.
    fn direct(&mut self) -> Bot {
        let bot = self.bot();
        let config = std::fs::read_to_string(bot.config()).expect("written before");
        let config = config.replace("proxy_server:", "auth_server:");
        std::fs::write(bot.config(), format!("{config}  ssh_config: off\n")).expect("written");
        bot
    }
}

/// One run of an agent, killed at `point`, and one after that, which succeeds. Gives whether the first was killed.
fn recovers(bot: &Bot, point: KillPoint) -> bool {
    let outcome = run(&mut point.reached_by(&bot.oneshot_command()));
    let killed = killed(&outcome);
    assert!(killed || outcome.status.success(), "{point}: {outcome:#?}");
    if killed {
        let outcome = bot.oneshot();
        assert!(outcome.status.success(), "after a kill at {point}: {outcome:#?}");
    }
    assert!(whole_set(&bot.output()).is_some(), "after {point}");
    killed
}

fn agents_join(stage: &mut Stage, reader: &Reader, step: u32, make: fn(&mut Stage) -> Bot) -> Tally {
    sweep(&OF_AGENTS, step, |point| {
        let bot = make(stage);
        reader.turn_to(&bot.output());
        recovers(&bot, point)
    })
}

fn agents_renew(stage: &mut Stage, reader: &Reader, step: u32, make: fn(&mut Stage) -> Bot) -> Tally {
    let mut members = Members::default();
    sweep(&OF_AGENTS, step, |point| recovers(members.next(|| make(stage), reader), point))
}

/// Agents that have joined; each renews a few times only, for auth holds up whoever renews all the time.
#[derive(Default)]
struct Members {
    current: Option<Bot>,
    renewals: usize,
}

impl Members {
    fn next(&mut self, make: impl FnOnce() -> Bot, reader: &Reader) -> &Bot {
        if self.renewals.is_multiple_of(10) {
            self.current = None;
        }
        self.renewals += 1;
        self.current.get_or_insert_with(|| {
            let bot = make();
            bot.oneshot().ok();
            reader.turn_to(&bot.output());
            bot
        })
    }
}

fn agents(step: u32) -> u32 {
    if !KillPoint::available() {
        return u32::MAX;
    }
    let (mut stage, reader) = (Stage::with_proxy(), Reader::start());
    let all = agents_join(&mut stage, &reader, step, Stage::bot).told("an agent joins")
        + agents_renew(&mut stage, &reader, step, Stage::bot).told("an agent renews")
        + agents_join(&mut stage, &reader, step, Stage::holder).told("an agent joins with its key")
        + agents_renew(&mut stage, &reader, step, Stage::holder).told("an agent joins again");
    reader.finish();
    nobody_was_harmed(&stage.cluster, stage.bots);
    all
}

/// One run of an agent while auth is killed at `point`; then auth is started again, and the agent's next run succeeds.
fn survives(stage: &mut Stage, bot: &Bot, point: KillPoint) -> bool {
    let auth = stage.cluster.process("auth").pid();
    let mut tracer = point.reached_by_running(auth, stage.cluster.path());
    let outcome = bot.oneshot();
    // By SIGTERM it lets go of one thread after another, and may wait for one that has gone; the kernel does it at once.
    tracer.kill();
    let killed = stage.cluster.process("auth").ended_by(9);
    if killed {
        stage.cluster.restart("auth");
        let outcome = bot.oneshot();
        assert!(outcome.status.success(), "after a kill of auth at {point}: {outcome:#?}");
    } else {
        assert!(outcome.status.success(), "{point}: {outcome:#?}");
    }
    assert!(whole_set(&bot.output()).is_some(), "after {point}");
    killed
}

/// A cluster's first start, killed at `point`; its second succeeds, and a bot can join it.
fn begins(point: KillPoint) -> bool {
    let mut cluster = Cluster::empty();
    cluster.prepare_auth();
    let mut first = testkit::Process::start(
        "first",
        cluster.path(),
        &mut point.reached_by(&cluster.start_command("auth")),
    );
    let killed = until("auth to be killed, or to be ready", || {
        (first.ended_by(9).then_some(true)).or_else(|| cluster.is_ready("auth").then_some(false))
    });
    first.kill();
    cluster.restart("auth");
    let server = cluster.endpoint("auth");
    let mut stage = Stage::new(cluster, server);
    stage.direct().oneshot().ok();
    let created = stage.cluster.tctl(&["events", "ls", "--type=cluster.create", "--format=json"]).ok();
    assert_eq!(created.matches("\"cluster.create\"").count(), 1, "after {point}: {created}");
    nobody_was_harmed(&stage.cluster, 1);
    killed
}

fn auth(step: u32) -> u32 {
    if !KillPoint::available() {
        return u32::MAX;
    }
    let cluster = Cluster::auth_alone();
    let server = cluster.endpoint("auth");
    let (mut stage, reader) = (Stage::new(cluster, server), Reader::start());
    let joins = sweep(&OF_AUTH, step, |point| {
        let bot = stage.direct();
        reader.turn_to(&bot.output());
        survives(&mut stage, &bot, point)
    });
    let mut members = Members::default();
    let renewals = sweep(&OF_AUTH, step, |point| {
        let bot = members.next(|| stage.direct(), &reader);
        survives(&mut stage, bot, point)
    });
    reader.finish();
    nobody_was_harmed(&stage.cluster, stage.bots);
    joins.told("auth, while an agent joins") + renewals.told("auth, while an agent renews")
}

#[test]
fn an_agent_recovers_from_a_kill_at_a_sample_of_its_calls() {
    assert!(agents(SAMPLE) >= 15);
}

#[test]
fn auth_recovers_from_a_kill_at_a_sample_of_its_calls() {
    assert!(auth(SAMPLE) >= 2);
}

#[test]
fn a_first_start_recovers_from_a_kill_at_a_sample_of_its_calls() {
    assert!(!KillPoint::available() || sweep(&OF_AUTH, 97, begins).told("auth, at its first start") >= 1);
}

#[test]
#[ignore = "takes many minutes; scripts/kill-points runs it"]
fn an_agent_recovers_from_a_kill_at_every_call() {
    assert!(agents(ALL) >= 300);
}

#[test]
#[ignore = "takes many minutes; scripts/kill-points runs it"]
fn auth_recovers_from_a_kill_at_every_call() {
    assert!(auth(ALL) >= 50);
}

#[test]
#[ignore = "takes many minutes; scripts/kill-points runs it"]
fn a_first_start_recovers_from_a_kill_at_every_call() {
    assert!(!KillPoint::available() || sweep(&OF_AUTH, ALL, begins).told("auth, at its first start") >= 50);
}
