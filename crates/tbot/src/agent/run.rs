//! The loop: renew, write, wait; sooner on a signal, later and later on failures, never giving up on what may pass.

use super::member::Member;
use super::storage::Storage;
use super::{AgentError, output, schedule};
use crate::config::Config;
use crate::health::Health;
use jiff::Timestamp;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Joins or renews, writes every output once, ends. Nothing is tried twice.
pub async fn oneshot(mut config: Config) -> Result<(), AgentError> {
    for output in &config.outputs {
        output.destination.prepare()?;
    }
    let storage = open_storage(&mut config)?;
    let member = Member::establish(&config, Arc::new(storage), Timestamp::now()).await?;
    if !member.is_new() {
        member.renew(Timestamp::now()).await?;
    }
    output::refresh(&member, &config, Timestamp::now()).await.map(drop)
}

/// Runs until a signal says stop, or until something is wrong that only a person can mend.
pub async fn run(mut config: Config, health: Health) -> Result<(), AgentError> {
    let mut signals = Signals::listen().map_err(AgentError::unusable("signal handling"))?;
    for output in &config.outputs {
        output.destination.prepare()?;
    }
    let storage = open_storage(&mut config)?;
    if let Some(address) = config.diag_addr {
        crate::health::serve(address, health.clone()).await.map_err(AgentError::unusable("diag_addr"))?;
    }
    let Some(member) = establish(&config, storage, &health, &mut signals).await? else { return Ok(()) };
    let mut failures = 0;
    loop {
        let round = round(&member, &config);
        let Some(outcome) = unless_stopped(round, &mut signals).await else { return Ok(()) };
        let pause = match outcome {
            Ok(good_until) => {
                failures = 0;
                health.renewed(good_until, Timestamp::now());
                schedule::regular(config.renewal_interval, random())
            }
            Err(error) => {
                failures += 1;
                let pause = schedule::after_failures(failures, config.renewal_interval, random());
                let valid_until = member.credentials().expires();
                tracing::error!(%error, %valid_until, retry_in = ?pause, "renewal failed");
                health.failed(&error);
                if !error.may_pass() || valid_until < Timestamp::now() {
                    tracing::error!("this does not look like it will pass by itself; still trying");
                }
                pause
            }
        };
        match signals.wait(pause).await {
            Wake::Stop => return Ok(()),
            Wake::Renew | Wake::Due => {}
        }
    }
}

/// Joining is tried again while it may pass: the cluster may come up later than its bots.
async fn establish(
    config: &Config,
    storage: Storage,
    health: &Health,
    signals: &mut Signals,
) -> Result<Option<Member>, AgentError> {
    let storage = Arc::new(storage);
    let mut failures = 0;
    loop {
        let attempt = Member::establish(config, Arc::clone(&storage), Timestamp::now());
        let Some(outcome) = unless_stopped(attempt, signals).await else { return Ok(None) };
        let error = match outcome {
            Ok(member) => return Ok(Some(member)),
            Err(error) if !error.may_pass() => return Err(error),
            Err(error) => error,
        };
        failures += 1;
        let pause = schedule::after_failures(failures, config.renewal_interval, random());
        tracing::error!(%error, retry_in = ?pause, "not a member of the cluster yet");
        health.failed(&error);
        if let Wake::Stop = signals.wait(pause).await {
            return Ok(None);
        }
    }
}

/// Gives the time until which everything on disk is good.
async fn round(member: &Member, config: &Config) -> Result<Timestamp, AgentError> {
    member.renew(Timestamp::now()).await?;
    output::refresh(member, config, Timestamp::now()).await
}

/// In [0, 1): spreads rounds; nothing secret depends on it.
fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// Runs `work` unless a signal to stop comes first. What was prepared stays prepared; the next start goes on.
async fn unless_stopped<T>(work: impl Future<Output = T>, signals: &mut Signals) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => Some(done),
        () = signals.stop() => None,
    }
}

fn open_storage(config: &mut Config) -> Result<Storage, AgentError> {
    let memory = crate::destination::Destination::Memory(crate::destination::Memory::default());
    Storage::open(std::mem::replace(&mut config.storage, memory))
}

enum Wake {
    Due,
    Renew,
    Stop,
}

/// SIGTERM and SIGINT stop; SIGHUP and SIGUSR1 renew now.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
    }

    async fn wait(&mut self, pause: Duration) -> Wake {
        tokio::select! {
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
            _ = self.hang_up.recv() => Wake::Renew,
            _ = self.user.recv() => Wake::Renew,
            () = tokio::time::sleep(pause) => Wake::Due,
        }
    }
}
