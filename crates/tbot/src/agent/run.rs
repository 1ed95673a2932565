//! The agent as a program runs it: until a signal says stop, or once.

use super::AgentError;
use super::follow::Follow;
use super::notify::Notifier;
use super::reload::Source;
use super::services::Agent;
use super::signals::{Signals, Wake};
use crate::config::Config;
use crate::health::{self, Health};
use std::sync::Arc;
use std::time::Duration;

/// How long one run does what a busy server asks for, in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Joins or renews, writes every output once, ends. What fails is not tried again; every output is tried. A server that has too much
/// to do and says when to come back has not failed: many such runs start in the same second.
pub async fn oneshot(config: Config) -> Result<(), Arc<AgentError>> {
    let mut agent = Agent::open(config, Health::default())?;
    let mut patience = PATIENCE;
    loop {
        let outcome = agent.once().await;
        let put_off = outcome.as_ref().err().filter(|error| error.is_put_off());
        let pause = put_off.and_then(|error| error.asked_pause());
        let Some((pause, left)) = pause.and_then(|pause| Some((pause, patience.checked_sub(pause)?))) else {
            return outcome;
        };
        tracing::info!(retry_in = ?pause, "the cluster has too much to do and asks to come back");
        tokio::time::sleep(pause).await;
        patience = left;
    }
}

/// Runs until a signal says stop, or until something is wrong at the start that only a person can mend.
pub async fn run(config: Config, source: &Source, health: Health) -> Result<(), Arc<AgentError>> {
    let mut signals = Signals::listen().map_err(AgentError::unusable("signal handling")).map_err(Arc::new)?;
    let diag_addr = config.diag_addr;
    let mut agent = Agent::open(config, health.clone())?;
    if let Some(address) = diag_addr {
        let served = health::http::serve(address, health.clone()).await;
        served.map_err(AgentError::unusable("diag_addr")).map_err(Arc::new)?;
    }
    agent.notify(Notifier::from_environment(health));
    let established = agent.establish(&mut signals).await;
    if let Ok(true) = established {
        live(&mut agent, source, &mut signals).await;
    }
    agent.stopping();
    established.map(drop)
}

/// What is due is done; then it waits. Ends when told to.
async fn live(agent: &mut Agent, source: &Source, signals: &mut Signals) {
    let mut follow = Follow::start(agent.servers());
    loop {
        let done = signals.unless_stopped(async {
            agent.round().await;
            agent.hear(&mut follow).await;
            agent.tell_of_ended_hooks().await;
        });
        if done.await.is_none() {
            return;
        }
        let pause = agent.pause();
        let news = async {
            tokio::select! {
                () = follow.news() => {}
                () = agent.hooks_ended() => {}
            }
        };
        match signals.wait_or(pause, news).await {
            Wake::Stop => return,
            Wake::Due | Wake::News => {}
            Wake::Renew => {
                tracing::info!("renewing everything now");
                agent.hurry();
            }
            Wake::Reload => {
                source.reload(agent);
                follow = Follow::start(agent.servers());
            }
        }
    }
}
