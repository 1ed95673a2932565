//! A fleet of agents in one process, or a part of one, for `scripts/bench-agent`: they join, then all wake in the same second, and it
//! is measured when each has renewed its identity and its output. They are the agent's own code, with everything in memory.
//!
//! Usage: `fleet PIN SERVER...`, with one join token in each line of standard input, and an empty line behind them. Each agent uses one
//! of the addresses, which all lead to the auth service. Says so when all have joined, and wakes them at the next line of standard
//! input. Prints one line of JSON.

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tbot::agent::services::Agent;
use tbot::config::{StartFlags, load};
use tbot::health::Health;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// So many join at a time: joining is not what is measured.
const JOINING: usize = 48;
/// All wake within this time.
const SECOND: Duration = Duration::from_secs(1);
/// Whoever has not renewed then, will not.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (pin, servers) = (arguments.next().expect("a pin"), arguments.collect::<Vec<_>>());
    let mut lines = std::io::stdin().lines().map(|line| line.expect("reads"));
    let tokens: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (fleet, joining) = (LocalSet::new(), Instant::now());
    let bots = fleet.block_on(&runtime, joined(&pin, &servers, &tokens));
    println!("{{\"joined_in\": {}}}", joining.elapsed().as_secs_f64());
    lines.next().expect("is woken");
    println!("{}", fleet.block_on(&runtime, woken(bots)));
}

/// What becomes of a fleet that wakes now.
pub async fn woken(bots: Vec<Bot>) -> serde_json::Value {
    let (count, woken) = (bots.len(), Instant::now());
    let rounds = bots.into_iter().enumerate().map(|(nth, bot)| {
        let wake = woken + SECOND.mul_f64(nth as f64 / count as f64);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(wake.into()).await;
            bot.renew(woken).await
        })
    });
    let (mut times, mut surfaced, mut reasons) = (Vec::new(), 0, BTreeMap::new());
    for round in rounds.collect::<Vec<_>>() {
        let renewed = round.await.expect("ends");
        surfaced += u32::from(renewed.failures > 0);
        for reason in renewed.reasons {
            *reasons.entry(reason).or_insert(0) += 1;
        }
        times.extend(renewed.after.map(|after| after.as_secs_f64()));
    }
    serde_json::json!({ "bots": count, "renewed_after": times, "surfaced": surfaced, "reasons": reasons })
}

/// Agents with these tokens, all of them members.
pub async fn joined(pin: &str, servers: &[String], tokens: &[String]) -> Vec<Bot> {
    let gate = Rc::new(Semaphore::new(JOINING));
    let members = tokens.iter().enumerate().map(|(nth, token)| {
        let (gate, config) = (Rc::clone(&gate), config(&servers[nth % servers.len()], pin, token));
        tokio::task::spawn_local(async move {
            let _place = gate.acquire().await.expect("open");
            Bot::join(&config).await
        })
    });
    let mut bots = Vec::new();
    for member in members.collect::<Vec<_>>() {
        bots.push(member.await.expect("joins"));
    }
    bots
}

fn config(server: &str, pin: &str, token: &str) -> String {
    format!(
        "version: v2\nauth_server: {server}\nonboarding: {{join_method: token, token: {token}, ca_pins: [\"{pin}\"]}}\n\
         storage: {{type: memory}}\noutputs:\n- {{type: identity, ssh_config: off, destination: {{type: memory}}}}\n"
    )
}

/// One agent.
pub struct Bot {
    agent: Agent,
    health: Health,
}

struct Renewed {
    after: Option<Duration>,
    failures: u64,
    /// What was told of them.
    reasons: BTreeSet<String>,
}

impl Bot {
    async fn join(config: &str) -> Self {
        let (config, _) = load("fleet", config, &StartFlags::default()).expect("a configuration");
        let health = Health::default();
        let mut agent = Agent::open(config, health.clone()).expect("opens");
        while let Err(error) = agent.once().await {
            assert!(error.may_pass(), "{error}");
            tokio::time::sleep(error.asked_pause().unwrap_or(Duration::from_millis(500))).await;
        }
        agent.rest();
        Self { agent, health }
    }

    fn done(&self) -> (u64, u64) {
        let services = self.health.services();
        let renewing = services.iter().filter(|service| service.name != "heartbeat");
        let rounds = renewing.clone().map(|service| service.iterations - service.failures).min();
        (rounds.unwrap_or_default(), renewing.map(|service| service.failures).sum())
    }

    fn told(&self) -> impl Iterator<Item = String> {
        let services = self.health.services().into_iter();
        services.filter_map(|service| Some(format!("{}: {}", service.name, service.problem?)))
    }

    async fn renew(mut self, woken: Instant) -> Renewed {
        let (rounds, failures) = self.done();
        let mut reasons = BTreeSet::new();
        self.agent.hurry();
        while woken.elapsed() < PATIENCE {
            self.agent.round().await;
            reasons.extend(self.told());
            let (now, failed) = self.done();
            if now > rounds {
                return Renewed { after: Some(woken.elapsed()), failures: failed - failures, reasons };
            }
            tokio::time::sleep(self.agent.pause()).await;
        }
        Renewed { after: None, failures: self.done().1 - failures, reasons }
    }
}
