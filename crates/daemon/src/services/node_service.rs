//! The SSH service.

use std::{path::PathBuf, sync::Arc};

use access::SystemRole;
use agent::{HostAgent, NodeReport, Report};
use node::{CommandLabel, Config, Host, Limits};
use tokio_util::sync::CancellationToken;

use super::{Surroundings, upstream::Way};
use crate::{
    config::NodeConfig,
    run::{
        metrics::Metrics,
        supervise::{Service, ServiceError},
    },
};

/// The helper that starts sessions; it lies beside the daemon.
const HELPER: &str = "session-exec";

pub(super) async fn start(
    surroundings: &Surroundings<'_>,
    config: &NodeConfig,
    way: Way,
) -> Result<Service, ServiceError> {
    let health = surroundings.health("node");
    // The agent leaves after the node, so that the last events still reach the audit log.
    let leave = CancellationToken::new();
    let agent = tokio::select! {
        agent = HostAgent::start(membership(surroundings, config, way), &health, leave.clone()) => Arc::new(agent?),
        () = surroundings.drain.cancelled() => return Err("stopped before the node had joined its cluster".into()),
    };
    let metrics = node::Metrics::default();
    let mut registry = Metrics::registry();
    metrics.register(&mut registry);
    surroundings.metrics.adopt(registry);
    let host = Host::of(Arc::clone(&agent))?;
    let told = settings(surroundings, config)?;
    let running = node::start(told, host, metrics, health, surroundings.drain.clone()).await?;
    surroundings.endpoints.tell("node", running.address());
    Ok(super::service("node", async move {
        running.stopped().await;
        leave.cancel();
        agent.stopped().await;
    }))
}

fn settings(surroundings: &Surroundings<'_>, config: &NodeConfig) -> Result<Config, ServiceError> {
    let public = config.public.iter().map(ToString::to_string);
    let mut told = Config::new(config.listen, surroundings.config.node_name.clone(), helper()?);
    told.advertise = public.clone().next();
    told.public_addrs = public.collect();
    told.labels = config.labels.0.clone();
    told.commands = config
        .commands
        .iter()
        .map(|label| CommandLabel {
            name: label.name.clone(),
            argv: label.argv.clone(),
            period: label.period,
        })
        .collect();
    told.port_forwarding = config.port_forwarding;
    told.file_copy = config.file_copy;
    told.limits = Limits { drain: surroundings.config.stop.drain, ..Limits::default() };
    Ok(told)
}

fn membership(surroundings: &Surroundings<'_>, config: &NodeConfig, way: Way) -> agent::Config {
    let hostname = surroundings.config.node_name.to_string();
    let mut principals: Vec<String> = config.public.iter().map(|public| public.host().to_owned()).collect();
    if !config.listen.ip().is_unspecified() {
        principals.push(config.listen.ip().to_string());
    }
    principals.dedup();
    agent::Config {
        role: SystemRole::Node,
        data_dir: surroundings.config.data_dir.clone(),
        auth: way.auth,
        join: way.join,
        hostname: hostname.clone(),
        principals,
        // What the node says of itself follows when it listens.
        report: Report::Node(NodeReport { hostname, ..NodeReport::default() }),
    }
}

fn helper() -> Result<PathBuf, ServiceError> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find {HELPER}: {error}"))?;
    Ok(own.with_file_name(HELPER))
}
