//! The services of an agent: its own identity, and each output. Each has its own schedule and its own account of how it
//! is; what is due at the same time is done in one round.

mod hearing;
mod hooking;

use super::AgentError;
use super::heartbeat::{self, About};
use super::member::Member;
use super::notify::Notifier;
use super::output;
use super::refresh;
use super::report::Report;
use super::schedule::{Failure, Moment, Retry, Schedule};
use super::signals::{Signals, Wake};
use super::storage::Storage;
use super::workload_api::Apis;
use crate::config::{Config, Content, Output};
use crate::destination::{Destination, Memory};
use crate::health::{Health, Kind, Service, Status};
use api::v1::SshServerState;
use hooking::Hooking;
use identity::TrustBundle;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::backoff::between_zero_and;

/// The name of the service that keeps the agent's own identity.
pub const IDENTITY: &str = "identity";
/// The name of the service that tells the cluster how the agent is.
pub const HEARTBEAT: &str = "heartbeat";
/// A wait is cut into pieces of this length, after each of which both clocks are looked at: a timer stands still while
/// the machine sleeps.
const LOOK_UP: Duration = Duration::from_secs(30);
/// Before it asks again whom to trust for workloads, and half as long on the average besides.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// One agent: what it is to do, and how far it is with each of it.
pub struct Agent {
    config: Config,
    storage: Arc<Storage>,
    member: Option<Member>,
    /// The cluster refused the stored identity; whether a new token helps is to be looked at before the next try.
    refused: bool,
    own: Schedule,
    /// In the order of the configuration.
    outputs: Vec<Schedule>,
    /// The revision of the trust bundle in what this process wrote of each.
    trusts: Vec<i64>,
    /// Authorities that some outputs do not follow yet: the cluster could not be asked whom to trust for workloads.
    unfollowed: Option<Arc<TrustBundle>>,
    /// What SSH servers have still to be told, by service.
    unapplied: BTreeMap<String, Arc<SshServerState>>,
    /// Why the cluster is not heard for SSH servers, by service.
    unheard: BTreeMap<String, String>,
    heartbeat: Schedule,
    /// How each service was when the cluster was told last.
    told: Vec<(String, Status)>,
    hooking: Hooking,
    /// The sockets for workloads.
    apis: Apis,
    health: Health,
    started: Instant,
    started_at: Timestamp,
    notifier: Notifier,
}

impl Agent {
    /// Prepares every destination and takes the lock on the storage. Gives everything that is wrong with them.
    pub fn open(mut config: Config, health: Health) -> Result<Self, Arc<AgentError>> {
        if config.oneshot {
            // Nobody could ask: it ends at once.
            config.outputs.retain(|output| !matches!(output.content, Content::WorkloadApi(_)));
        }
        let unusable = config.outputs.iter().filter_map(|output| unusable(output).map(Arc::new));
        let mut errors: Vec<_> = unusable.collect();
        errors.extend(same_directories(&config).into_iter().map(Arc::new));
        let memory = Destination::Memory(Memory::default());
        let storage = match Storage::open(std::mem::replace(&mut config.storage, memory)) {
            Ok(storage) if errors.is_empty() => Arc::new(storage),
            Ok(_) => return Err(AgentError::several(errors).expect_err("there are some")),
            Err(error) => {
                errors.insert(0, Arc::new(error));
                return Err(AgentError::several(errors).expect_err("there are some"));
            }
        };
        let own = Schedule::new(config.renewal_interval);
        let mut agent = Self {
            config,
            storage,
            member: None,
            refused: false,
            own,
            outputs: Vec::new(),
            trusts: Vec::new(),
            unfollowed: None,
            unapplied: BTreeMap::new(),
            unheard: BTreeMap::new(),
            heartbeat: Schedule::new(heartbeat::INTERVAL),
            told: Vec::new(),
            hooking: Hooking::default(),
            apis: Apis::default(),
            health,
            started: Instant::now(),
            started_at: Timestamp::now(),
            notifier: Notifier::default(),
        };
        Report::forget(&agent.storage);
        agent.list_services();
        agent.report();
        Ok(agent)
    }

    /// Becomes a member, or says why not at once.
    async fn establish_once(&mut self) -> Result<(), Arc<AgentError>> {
        let now = Timestamp::now();
        let member = Member::establish(&self.config, Arc::clone(&self.storage), now).await;
        let member = match member {
            Ok(member) => member,
            Err(error) => {
                self.health.failed(IDENTITY, &error, None);
                self.report();
                return Err(Arc::new(error));
            }
        };
        let (expires, is_new) = (member.credentials().expires(), member.is_new());
        self.be(member);
        match is_new {
            false => self.health.found(IDENTITY, expires),
            // It is as fresh as can be.
            true => self.own_succeeded(expires),
        }
        Ok(())
    }

    fn be(&mut self, member: Member) {
        if let Some(instance) = member.instance() {
            let valid_until = member.credentials().expires();
            let how = if member.is_new() { "joined" } else { "going on with the stored identity" };
            tracing::info!(bot = instance.bot, instance = instance.id, cluster = instance.cluster, %valid_until, "{how}");
        }
        if member.is_new() {
            self.heartbeat.hurry();
        }
        self.apis.connect(member.channel());
        self.member = Some(member);
    }

    /// Becomes a member; tries again while it may pass, because the cluster may come up later than its bots. Gives
    /// `false` when told to stop.
    pub async fn establish(&mut self, signals: &mut Signals) -> Result<bool, Arc<AgentError>> {
        loop {
            let Some(outcome) = signals.unless_stopped(self.establish_once()).await else { return Ok(false) };
            let error = match outcome {
                Ok(()) => return Ok(true),
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => error,
            };
            let Retry { pause, .. } =
                self.own.failed(self.now(), failure(&error, None, self.now()), random());
            tracing::error!(%error, retry_in = ?pause, "not a member of the cluster yet");
            if let Wake::Stop = signals.wait(pause).await {
                return Ok(false);
            }
        }
    }

    /// Does what is due.
    pub async fn round(&mut self) {
        let (now, random) = (self.now(), random());
        self.look_after_files(now);
        if !self.pause().is_zero() {
            return;
        }
        if self.own.is_nearly_due(now) {
            self.renew(random).await;
        }
        let due: Vec<usize> =
            (0..self.outputs.len()).filter(|at| self.outputs[*at].is_nearly_due(now)).collect();
        self.write(&due, random).await;
        self.tell_of_hooks().await;
        if self.heartbeat.is_nearly_due(self.now()) {
            self.beat(random).await;
        }
        self.rest();
        self.report();
    }

    /// What somebody removed or spoiled is written again.
    fn look_after_files(&mut self, now: Moment) {
        for (output, schedule) in self.config.outputs.iter().zip(&mut self.outputs) {
            let is_kept =
                output.destination.path().is_some() && !matches!(output.content, Content::WorkloadApi(_));
            let is_believed = self.health.expires(&output.name).is_some_and(|expires| expires > now.wall);
            if is_kept && is_believed && refresh::expires(output).is_none() {
                tracing::warn!(
                    service = output.name,
                    place = output.place(),
                    "what was written there is gone; writing it again"
                );
                self.health.lost(&output.name);
                schedule.hurry();
            }
        }
    }

    /// Gives up the connection until something is due again.
    pub fn rest(&self) {
        if let Some(member) = &self.member {
            member.rest();
        }
    }

    /// Tells the cluster how the agent is. That it cannot is told here, and fails nothing.
    async fn beat(&mut self, random: f64) {
        let Some(member) = &self.member else { return };
        let (now, services) = (self.now(), self.health.services());
        let is_startup =
            services.iter().all(|service| service.kind != Kind::Heartbeat || service.iterations == 0);
        let about = About { is_startup, uptime: now.running, one_shot: self.config.oneshot };
        match heartbeat::send(member, about, &services).await {
            Ok(()) => {
                self.told = owned(heartbeat::states(&services, now.wall));
                self.heartbeat.succeeded(now, Duration::MAX, random);
                self.health.succeeded(HEARTBEAT, None, self.heartbeat.due_at(), now.wall);
            }
            Err(error) => {
                let failure = Failure { asked: Some(heartbeat::AFTER_FAILURE), ..Failure::default() };
                self.heartbeat.failed(now, failure, random);
                self.health.failed(HEARTBEAT, &error, self.heartbeat.due_at());
                tracing::warn!(service = HEARTBEAT, %error, "the cluster was not told how the agent is");
            }
        }
    }

    /// Tells a service manager how it is, from now on.
    pub fn notify(&mut self, notifier: Notifier) {
        self.notifier = notifier;
    }

    /// It is about to end.
    pub fn stopping(&self) {
        tracing::info!("stopping");
        self.notifier.stopping();
    }

    /// What the cluster knows of a service is to be true before long.
    fn tell_what_changed(&mut self) {
        let (now, services) = (self.now(), self.health.services());
        if !self.told.is_empty() && self.told != owned(heartbeat::states(&services, now.wall)) {
            self.heartbeat.hurry_within(now, heartbeat::SETTLED + between_zero_and(heartbeat::SETTLED));
        }
    }

    /// For `tbot status`, and the service manager.
    fn report(&mut self) {
        self.tell_what_changed();
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            written_at: Timestamp::now(),
            server: self.config.server.address().to_owned(),
            instance: self.member.as_ref().and_then(Member::instance),
            services: self.health.services(),
        };
        report.keep(&self.storage);
        self.notifier.tell(&report.services, self.health.is_ready(report.written_at));
    }

    /// Becomes a member if it is none, renews and writes everything, each once.
    pub async fn once(&mut self) -> Result<(), Arc<AgentError>> {
        if self.member.is_none() {
            self.establish_once().await?;
        }
        self.everything_once().await
    }

    /// Renews and writes everything, each once; gives everything that failed.
    async fn everything_once(&mut self) -> Result<(), Arc<AgentError>> {
        if self.own.is_due(self.now())
            && let Err(error) = self.renewed().await
        {
            self.health.failed(IDENTITY, &error, None);
            self.report();
            return Err(Arc::new(error));
        }
        let all: Vec<usize> = (0..self.outputs.len()).collect();
        let failed = self.write(&all, random()).await;
        self.all_hooks_ended().await;
        self.tell_of_hooks().await;
        self.beat(random()).await;
        self.report();
        AgentError::several(failed)
    }

    /// Time until something is due; cut short when it is long.
    pub fn pause(&self) -> Duration {
        let now = self.now();
        let all = [&self.own, &self.heartbeat].into_iter().chain(&self.outputs);
        let longest = match self.unfollowed {
            Some(_) => ASK_AGAIN + between_zero_and(ASK_AGAIN),
            None => LOOK_UP,
        };
        all.map(|schedule| schedule.pause(now)).min().unwrap_or(longest).min(longest)
    }

    /// Makes everything due now.
    pub fn hurry(&mut self) {
        self.own.hurry();
        self.heartbeat.hurry_after_failure(self.now(), Duration::ZERO);
        self.outputs.iter_mut().for_each(Schedule::hurry);
    }

    /// Where it keeps its identity, for messages.
    pub fn storage_place(&self) -> String {
        self.storage.place()
    }

    /// What it does.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the configuration was read when it was told to read it again, and if not, why.
    pub fn was_configured(&self, outcome: Result<(), &str>) {
        let remark = outcome.err().map(|mistakes| {
            format!(
                "the configuration file is not used, since it has mistakes: {}",
                mistakes.replace('\n', "; ")
            )
        });
        self.health.remark(IDENTITY, remark);
    }

    /// Takes what may change while it runs from `new`, and does everything anew. Storage, `diag_addr` and `oneshot` stay.
    pub fn reconfigure(&mut self, new: Config) {
        let storage = Destination::Memory(Memory::default());
        let (diag_addr, oneshot, debug) = (self.config.diag_addr, self.config.oneshot, self.config.debug);
        self.config = Config { storage, diag_addr, oneshot, debug, ..new };
        // With the next round, from what is stored: the address, the life asked for and the token may be others.
        self.refused = true;
        self.own = Schedule::new(self.config.renewal_interval);
        self.list_services();
    }

    /// A schedule and an account for each service.
    fn list_services(&mut self) {
        let outputs = &self.config.outputs;
        self.outputs = outputs.iter().map(|output| Schedule::new(output.renewal_interval)).collect();
        self.trusts = vec![0; outputs.len()];
        let mut services = vec![Service::new(IDENTITY, Kind::BotIdentity)];
        services.extend(outputs.iter().map(|output| Service {
            destination: Some(output.place()),
            expires: refresh::expires(output),
            ..Service::new(&output.name, Kind::of(&output.content))
        }));
        let open = outputs.iter().filter(|output| matches!(output.content, Content::WorkloadApi(_)));
        self.apis.keep(&open.map(|output| output.name.as_str()).collect::<Vec<_>>());
        services.push(Service::new(HEARTBEAT, Kind::Heartbeat));
        self.health.set_services(services);
        // Streams begin anew, and tell of trouble anew; those of services that are in no inventory any more have none.
        for name in std::mem::take(&mut self.unheard).into_keys() {
            self.health.hooked(&name, Ok(()));
        }
    }

    async fn renew(&mut self, random: f64) {
        let Err(error) = self.renewed().await else { return };
        let valid_until = self.member.as_ref().map(|member| member.credentials().expires());
        let now = self.now();
        let Retry { pause, is_told } = self.own.failed(now, failure(&error, valid_until, now), random);
        if !is_told {
            return not_yet(IDENTITY, &error, pause);
        }
        self.health.failed(IDENTITY, &error, self.own.due_at());
        let valid_until = valid_until.map_or_else(|| "nothing".to_owned(), |until| until.to_string());
        tracing::error!(service = IDENTITY, %error, valid_until, retry_in = ?pause, "renewal failed");
        if !error.may_pass() {
            tracing::error!("this does not look like it will pass by itself; still trying");
        }
    }

    async fn renewed(&mut self) -> Result<(), AgentError> {
        let now = Timestamp::now();
        let usable = self.member.as_ref().is_some_and(|member| member.credentials().expires() > now);
        if !usable || self.refused {
            let member = Member::establish(&self.config, Arc::clone(&self.storage), now).await?;
            let (expires, is_new) = (member.credentials().expires(), member.is_new());
            self.be(member);
            self.refused = false;
            if is_new {
                self.own_succeeded(expires);
                return Ok(());
            }
        }
        let Some(member) = &self.member else { return Ok(()) };
        let renewed = member.renew(now).await;
        self.apis.connect(member.channel());
        let expires = member.credentials().expires();
        self.refused = renewed.as_ref().is_err_and(|error| !error.may_pass());
        renewed.map(|()| self.own_succeeded(expires))
    }

    fn own_succeeded(&mut self, expires: Timestamp) {
        let now = self.now();
        self.own.succeeded(now, left(expires, now.wall), random());
        // What kept the cluster from hearing of it may be over with this.
        self.heartbeat.hurry_after_failure(now, Duration::ZERO);
        renewed_again(&self.health, IDENTITY);
        self.health.succeeded(IDENTITY, Some(expires), self.own.due_at(), now.wall);
    }

    /// Writes these outputs; gives what failed.
    async fn write(&mut self, due: &[usize], random: f64) -> Vec<Arc<AgentError>> {
        let outputs: Vec<&Output> = due.iter().map(|at| &self.config.outputs[*at]).collect();
        if outputs.is_empty() {
            return Vec::new();
        }
        let now = Timestamp::now();
        let member = self.member.as_ref().filter(|member| member.credentials().expires() > now);
        let written = match member {
            Some(member) => refresh::all(member, &self.config, &outputs, &mut self.apis, now).await,
            None => {
                let error = Arc::new(AgentError::NoMember);
                outputs.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
        };
        let mut failed = Vec::new();
        for (at, written) in due.iter().zip(written) {
            match self.settle(*at, written, random) {
                Ok(()) => self.after(*at),
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    fn settle(&mut self, at: usize, written: output::Written, random: f64) -> Result<(), Arc<AgentError>> {
        let now = self.now();
        let (schedule, name) = (&mut self.outputs[at], &self.config.outputs[at].name);
        match written {
            Ok(output::Fresh { expires, trust }) => {
                self.trusts[at] = trust;
                schedule.succeeded(now, left(expires, now.wall), random);
                renewed_again(&self.health, name);
                self.health.succeeded(name, Some(expires), schedule.due_at(), now.wall);
                Ok(())
            }
            Err(error) => {
                let valid_until = self.health.expires(name);
                let Retry { pause, is_told } =
                    schedule.failed(now, failure(&error, valid_until, now), random);
                match is_told {
                    false => not_yet(name, &error, pause),
                    true => {
                        self.health.failed(name, &error, schedule.due_at());
                        tracing::error!(service = name, %error, retry_in = ?pause, "renewal failed");
                    }
                }
                Err(Arc::new(AgentError::Output { name: name.clone(), source: error }))
            }
        }
    }

    fn now(&self) -> Moment {
        Moment { wall: Timestamp::now(), running: self.started.elapsed() }
    }
}

fn owned(states: Vec<(&str, Status)>) -> Vec<(String, Status)> {
    states.into_iter().map(|(name, status)| (name.to_owned(), status)).collect()
}

/// Whoever read of the failure in the log reads of its end there.
fn renewed_again(health: &Health, name: &str) {
    if let Some(problem) = health.problem(name) {
        tracing::info!(service = name, problem, "renewed again; it had failed before");
    }
}

/// What a failure means for the next try; `valid_until` is the end of what there is.
fn failure(error: &AgentError, valid_until: Option<Timestamp>, now: Moment) -> Failure {
    let (asked, is_put_off, may_pass) = (error.asked_pause(), error.is_put_off(), error.may_pass());
    let left = valid_until.map(|until| left(until, now.wall)).unwrap_or_default();
    Failure { asked, is_put_off, may_pass, left }
}

/// Nobody needs to know yet: what there is stays valid.
fn not_yet(service: &str, error: &AgentError, pause: Duration) {
    tracing::info!(service, reason = %error, retry_in = ?pause, "not renewed yet");
}

/// What is wrong with an output's destination, if a person has to mend it. A full disk may be no longer full when the
/// files are written.
fn unusable(output: &Output) -> Option<AgentError> {
    let error = output.destination.prepare().err().filter(|error| !error.is_out_of_space())?;
    Some(AgentError::Output { name: output.name.clone(), source: Arc::new(error.into()) })
}

/// Links and mounts can lead to one directory by several paths, which the text of a configuration does not show.
fn same_directories(config: &Config) -> Vec<AgentError> {
    use std::os::unix::fs::MetadataExt;
    let storage = config.storage.path().map(|path| ("the storage".to_owned(), path));
    let outputs = config
        .outputs
        .iter()
        .filter_map(|output| Some((format!("output {}", output.name), output.destination.path()?)));
    let mut seen: Vec<((u64, u64), String)> = Vec::new();
    let mut errors = Vec::new();
    for (name, path) in storage.into_iter().chain(outputs) {
        let Ok(found) = std::fs::metadata(path) else { continue };
        let id = (found.dev(), found.ino());
        match seen.iter().find(|(known, _)| *known == id) {
            Some((_, other)) => {
                errors.push(AgentError::SameDirectory { path: path.to_owned(), other: other.clone() })
            }
            None => seen.push((id, name)),
        }
    }
    errors
}

fn left(expires: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(expires.duration_since(now)).unwrap_or_default()
}

/// In [0, 1): spreads rounds; nothing secret depends on it.
fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Agent, Report};
    use crate::config::{StartFlags, load};
    use crate::destination::{Destination, Directory, Symlinks};
    use crate::health::Health;
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn files_that_are_gone_are_due_and_nobody_is_told_of_them() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let place = scratch.path().display();
        let text = format!(
            "version: v2\nproxy_server: p:1\nonboarding: {{token: x}}\nstorage: {place}/s\nservices:\n\
             - {{type: identity, name: a, destination: {place}/a}}\n"
        );
        let (config, _) = load("tbot.yaml", &text, &StartFlags::default()).expect("read");
        let health = Health::default();
        let mut agent = Agent::open(config, health.clone()).expect("opens");
        let now = agent.now();
        let expires = now.wall + SignedDuration::from_hours(1);
        agent.outputs[0].succeeded(now, super::left(expires, now.wall), 0.0);
        health.succeeded("a", Some(expires), None, Timestamp::now());
        assert!(!agent.outputs[0].is_due(now));
        agent.look_after_files(now);
        let report = Report::read(&Destination::Directory(Directory::new(
            scratch.path().join("s"),
            Symlinks::TrySecure,
        )));
        assert!(report.expect("reads").is_some(), "there is one from the start");
        assert!(agent.outputs[0].is_due(now));
        assert_eq!(health.expires("a"), None);
        let services = health.services();
        let told = services.iter().find(|service| service.name == "a").expect("listed");
        assert_eq!(told.reason(now.wall), "what was written is gone");
    }
}
