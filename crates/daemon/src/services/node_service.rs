//! The SSH service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use access::{HostPort, SystemRole};
use agent::{HostAgent, NodeReport, Report};
use node::{CommandLabel, Config, Displays, Host, Launcher, LauncherProcess, Limits, Pam, SessionLimits};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};
use tokio_util::sync::CancellationToken;
use transport::health::ServiceHealth;

use super::{Surroundings, upstream::Way};
use crate::{
    config::{NodeConfig, Remote, Server, Upstream, pam},
    privileges::ownership,
    run::{
        metrics::Metrics,
        supervise::{Service, ServiceError},
    },
};

/// What starts sessions; both lie beside the daemon.
const HELPER: &str = "session-exec";
const LAUNCHER: &str = "session-launcher";
/// How often it is looked whether what sessions need is there.
const LOOK: Duration = Duration::from_secs(30);

/// Starts the one process that stays privileged, where there is a node.
pub(crate) fn start_launcher(
    config: &crate::config::Config,
    session_limits: &SessionLimits,
) -> Result<Option<LauncherProcess>, ServiceError> {
    let Some(node) = &config.services.node else { return Ok(None) };
    let host = agent::host_id(&config.data_dir)?;
    let mut settings = plain_settings(config, node)?;
    settings.session_limits = session_limits.clone();
    let told = settings.launcher(host, config.data_dir.join(ownership::LAUNCHER));
    Ok(Some(LauncherProcess::start(&beside(LAUNCHER)?, told)?))
}

pub(super) async fn start(
    surroundings: &Surroundings<'_>,
    config: &NodeConfig,
    way: Way,
    launcher: LauncherProcess,
) -> Result<Service, ServiceError> {
    let health = surroundings.health("node");
    let launcher = Launcher::new(launcher)?;
    // The agent leaves after the node, so that the last events still reach the audit log.
    let leave = CancellationToken::new();
    let agent = tokio::select! {
        agent = HostAgent::start(membership(surroundings, config, way, &launcher), &health, leave.clone()) => Arc::new(agent?),
        () = surroundings.drain.cancelled() => return Err("stopped before the node had joined its cluster".into()),
        () = launcher.gone() => return Err(node::LauncherGone.into()),
    };
    let metrics = node::Metrics::default();
    let mut registry = Metrics::registry();
    metrics.register(&mut registry);
    agent.audit().register(registry.sub_registry_with_prefix("node"));
    surroundings.metrics.adopt(registry);
    let host = Host::of(Arc::clone(&agent), &launcher)?;
    let told = settings(surroundings, config)?;
    let pam = config.pam.is_some();
    let running =
        node::start(told, host, launcher, metrics, health.clone(), surroundings.drain.clone()).await?;
    surroundings.endpoints.tell("node", running.address());
    let work = async move {
        let stopped = tokio::select! {
            stopped = running.stopped() => stopped,
            () = watch_library(pam, &health) => std::future::pending().await,
        };
        leave.cancel();
        agent.stopped().await;
        Ok(stopped?)
    };
    Ok(Service { name: "node", work: Box::pin(work) })
}

/// Says so while PAM is wanted and not there; it may be installed.
async fn watch_library(wanted: bool, health: &ServiceHealth) {
    if !wanted {
        return std::future::pending().await;
    }
    loop {
        let missing = tokio::task::spawn_blocking(|| pam::library_missing(Path::new("/"))).await;
        health.part("pam", missing.ok().flatten());
        tokio::time::sleep(LOOK).await;
    }
}

fn settings(surroundings: &Surroundings<'_>, config: &NodeConfig) -> Result<Config, ServiceError> {
    let public = config.public.iter().map(ToString::to_string);
    let found = unseen(surroundings.config, config)
        .and_then(|own| HostPort::new(&own.to_string(), config.listen.port()).ok());
    let mut told = plain_settings(surroundings.config, config)?;
    told.listen = super::listen(surroundings.ports.node.as_ref());
    told.advertise = public.clone().next().or(found.map(|found| found.to_string()));
    told.public_addrs = public.collect();
    told.session_limits = surroundings.session_limits.clone();
    Ok(told)
}

/// What does not depend on what else there is.
fn plain_settings(config: &crate::config::Config, node: &NodeConfig) -> Result<Config, ServiceError> {
    let mut told = Config::new(node.listen, config.node_name.clone(), beside(HELPER)?);
    told.labels = node.labels.0.clone();
    told.commands = node
        .commands
        .iter()
        .map(|label| CommandLabel {
            name: label.name.clone(),
            argv: label.argv.clone(),
            period: label.period,
        })
        .collect();
    told.port_forwarding = node.port_forwarding;
    told.file_copy = node.file_copy;
    told.user_env = node.user_env;
    told.pam = node.pam.as_ref().map(|pam| Pam::new(&pam.service, &pam.environment)).transpose()?;
    told.x11 = node.x11.map(|(offset, most)| Displays { offset, most });
    told.limits = Limits { drain: config.stop.drain, ..Limits::default() };
    Ok(told)
}

fn membership(
    surroundings: &Surroundings<'_>,
    config: &NodeConfig,
    way: Way,
    launcher: &Launcher,
) -> agent::Config {
    let hostname = surroundings.config.node_name.to_string();
    let mut principals: Vec<String> = config.public.iter().map(|public| public.host().to_owned()).collect();
    if !config.listen.ip().is_unspecified() {
        principals.push(config.listen.ip().to_string());
    }
    principals.extend(unseen(surroundings.config, config).map(|own| own.to_string()));
    principals.dedup();
    agent::Config {
        role: SystemRole::Node,
        data_dir: surroundings.config.data_dir.clone(),
        auth: way.auth,
        join: way.join,
        hostname: hostname.clone(),
        principals,
        ssh_key: Some(launcher.public_key().clone()),
        // What the node says of itself follows when it listens.
        report: Report::Node(NodeReport { hostname, ..NodeReport::default() }),
    }
}

/// The address of a node that listens on every one, where auth cannot see it: through a proxy it sees the proxy's, from
/// its own process none that a proxy elsewhere could dial. Auth has to believe it, so it goes into the certificate.
fn unseen(config: &crate::config::Config, node: &NodeConfig) -> Option<IpAddr> {
    let straight =
        matches!(&config.services.upstream, Upstream::Remote(Remote { server: Server::Auth(_), .. }));
    let is_open = node.listen.ip().is_unspecified() && node.listen.port() != 0 && node.public.is_empty();
    (is_open && !straight).then(own_address)
}

/// The address that this host uses towards others.
fn own_address() -> IpAddr {
    // Reserved for documentation: nothing is sent, the system only says which way it would go. And nothing is bound, which
    // a confined process cannot.
    let far: [(AddressFamily, IpAddr); 2] = [
        (AddressFamily::INET, Ipv4Addr::new(192, 0, 2, 1).into()),
        (AddressFamily::INET6, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let towards = |(family, far): (AddressFamily, IpAddr)| {
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
        connect(&socket, &SocketAddr::new(far, 9)).ok()?;
        let local: SocketAddr = getsockname(&socket).ok()?.try_into().ok()?;
        Some(local.ip())
    };
    far.into_iter().find_map(towards).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// A program that was installed beside this one.
fn beside(program: &str) -> Result<PathBuf, ServiceError> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find {program}: {error}"))?;
    Ok(own.with_file_name(program))
}

#[cfg(test)]
mod tests {
    use super::unseen;
    use crate::config::parse;

    /// Whether the node has to say its address itself.
    fn says_it(upstream: &str, ssh: &str) -> bool {
        let join = "  auth_token: a-token-of-the-cluster\n  ca_pin: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";
        let (global, auth) = match upstream {
            "" => (String::new(), "enabled: true\n  cluster_name: example.com"),
            key => (format!("postern:\n  {key}: there.example.com:443\n{join}"), "enabled: false"),
        };
        let text = format!(
            "version: v3\n{global}auth_service:\n  {auth}\nproxy_service:\n  enabled: false\nssh_service:\n  enabled: true\n{ssh}"
        );
        let config = parse("test", &text, "host").expect("a configuration");
        let node = config.services.node.as_ref().expect("a node");
        unseen(&config, node).is_some()
    }

    #[test]
    fn a_node_says_its_address_where_auth_cannot_see_it() {
        assert!(!says_it("auth_server", ""), "auth sees it");
        assert!(says_it("proxy_server", "") && says_it("", ""), "auth sees another one");
        for ssh in ["  listen_addr: 192.0.2.7:3022\n", "  public_addr: web.example.com:3022\n"] {
            assert!(!says_it("proxy_server", ssh) && !says_it("", ssh), "{ssh}: is known");
        }
    }
}
