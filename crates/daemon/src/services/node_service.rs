//! The SSH service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::PathBuf,
    sync::Arc,
};

use access::{HostPort, SystemRole};
use agent::{HostAgent, NodeReport, Report};
use node::{CommandLabel, Config, Host, Limits, Pam};
use tokio_util::sync::CancellationToken;

use super::{Surroundings, upstream::Way};
use crate::{
    config::{NodeConfig, Remote, Server, Upstream},
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
    agent.audit().register(registry.sub_registry_with_prefix("node"));
    surroundings.metrics.adopt(registry);
    let shown = agent.ssh_host().own().ok_or("the SSH host key is not the agent's")?;
    let host = Host::of(Arc::clone(&agent), shown);
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
    let found = unseen(surroundings.config, config)
        .and_then(|own| HostPort::new(&own.to_string(), config.listen.port()).ok());
    let mut told = Config::new(
        super::listen(surroundings.ports.node.as_ref()),
        surroundings.config.node_name.clone(),
        helper()?,
    );
    told.advertise = public.clone().next().or(found.map(|found| found.to_string()));
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
    told.session_limits = surroundings.session_limits.clone();
    told.port_forwarding = config.port_forwarding;
    told.file_copy = config.file_copy;
    told.user_env = config.user_env;
    told.pam = config.pam.as_ref().map(|pam| Pam::new(&pam.service, &pam.environment)).transpose()?;
    told.limits = Limits { drain: surroundings.config.stop.drain, ..Limits::default() };
    Ok(told)
}

fn membership(surroundings: &Surroundings<'_>, config: &NodeConfig, way: Way) -> agent::Config {
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
        ssh_key: None,
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
    // Reserved for documentation: nothing is sent, the system only says which way it would go.
    let far: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let towards = |(own, far): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((own, 0)).ok()?;
        socket.connect((far, 9)).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    };
    far.into_iter().find_map(towards).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn helper() -> Result<PathBuf, ServiceError> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find {HELPER}: {error}"))?;
    Ok(own.with_file_name(HELPER))
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
