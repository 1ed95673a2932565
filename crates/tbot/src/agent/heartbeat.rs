//! What the agent tells the cluster of itself, for `tctl bots instances show`, and of its hooks, for the audit log. It decides
//! nothing.

use super::AgentError;
use super::hooks::Ran;
use super::member::Member;
use crate::health::{Kind, Service, Status};
use access::resource::bot::{Heartbeat, ServiceHealth};
use api::status::Class;
use api::v1::bot_service_client::BotServiceClient;
use api::v1::{HeartbeatRequest, HookResult, ReportHooksRequest};
use jiff::Timestamp;
use std::time::Duration;

/// Time between two.
pub const INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Time until the next try; nobody waits for it.
pub const AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);
/// Until what has changed is told, and as long besides: more may change meanwhile.
pub const SETTLED: Duration = Duration::from_secs(10);
/// Auth takes no longer texts and no more services.
const LONGEST: usize = 200;
pub const MOST: usize = 32;

/// What is told beside the services.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// First of this process.
    pub is_startup: bool,
    /// Since the process started.
    pub uptime: Duration,
    /// Ends after one round.
    pub one_shot: bool,
}

/// Tells it.
pub async fn send(member: &Member, about: About, services: &[Service]) -> Result<(), AgentError> {
    let mut heartbeat = heartbeat(about, services, Timestamp::now());
    match tell(member, &heartbeat).await {
        // An auth service that is older than this agent takes no services.
        Err(AgentError::Cluster { problem, .. }) if problem.class == Class::Invalid => {
            heartbeat.services.clear();
            tell(member, &heartbeat).await
        }
        told => told,
    }
}

async fn tell(member: &Member, heartbeat: &Heartbeat) -> Result<(), AgentError> {
    let json = serde_json::to_string(heartbeat).map_err(AgentError::unusable("the heartbeat"))?;
    let told = BotServiceClient::new(member.channel()).heartbeat(HeartbeatRequest { json }).await;
    told.map(drop).map_err(AgentError::call("telling the cluster how the agent is"))
}

/// Tells what came of hooks; [`MOST`] at most.
pub async fn send_hooks(member: &Member, ran: &[Ran]) -> Result<(), AgentError> {
    let results = ran.iter().map(|ran| HookResult {
        output: short(&ran.output),
        nth: u32::try_from(ran.nth).unwrap_or(u32::MAX),
        action: short(&ran.action),
        fault: short(ran.fault.as_deref().unwrap_or("")),
        tail: short(&ran.tail),
        took_ms: u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
    });
    let request = ReportHooksRequest { results: results.collect() };
    let told = BotServiceClient::new(member.channel()).report_hooks(request).await;
    told.map(drop).map_err(AgentError::call("telling the cluster what came of hooks"))
}

/// What is told of each: one that arrives has nothing to complain of itself.
pub fn states(services: &[Service], now: Timestamp) -> Vec<(&str, Status)> {
    let of = |service: &Service| match service.kind {
        Kind::Heartbeat => Status::Healthy,
        _ => service.status(now),
    };
    services.iter().take(MOST).map(|service| (service.name.as_str(), of(service))).collect()
}

fn heartbeat(about: About, services: &[Service], now: Timestamp) -> Heartbeat {
    let states = states(services, now).into_iter();
    let told = services.iter().zip(states).map(|(service, (name, status))| ServiceHealth {
        name: name.to_owned(),
        kind: service.kind.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: if status == Status::Healthy { String::new() } else { short(&service.reason(now)) },
        expires: service.expires,
    });
    Heartbeat {
        recorded_at: None,
        hostname: short(&rustix::system::uname().nodename().to_string_lossy()),
        is_startup: about.is_startup,
        uptime_seconds: about.uptime.as_secs(),
        one_shot: about.one_shot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        os: std::env::consts::OS.to_owned(),
        services: told.collect(),
    }
}

/// One line of text that auth takes.
fn short(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if short.len() + c.len_utf8() > LONGEST {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::{short, states};
    use crate::health::{Kind, Service, Status};
    use jiff::Timestamp;

    #[test]
    fn one_that_arrives_does_not_complain_of_itself() {
        let mut services =
            [Service::new("a", Kind::IdentityOutput), Service::new("heartbeat", Kind::Heartbeat)];
        services.iter_mut().for_each(|service| service.problem = Some("the cluster is away".to_owned()));
        let told = states(&services, Timestamp::now());
        assert_eq!(told, [("a", Status::Unhealthy), ("heartbeat", Status::Healthy)]);
    }

    #[test]
    fn reasons_become_one_short_line() {
        assert_eq!(short("a\nb\u{1b}c"), "a b c");
        assert_eq!(short(&"\u{e4}".repeat(300)).len(), 200);
    }
}
