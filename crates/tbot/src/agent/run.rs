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

/// Joins or renews, writes every output once, ends. Nothing is tried twice; every output is tried.
pub async fn oneshot(config: Config) -> Result<(), Arc<AgentError>> {
    let mut agent = Agent::open(config, Health::default())?;
    agent.once().await
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
        });
        if done.await.is_none() {
            return;
        }
        match signals.wait_or(agent.pause(), follow.news()).await {
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
