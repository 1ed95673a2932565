//! Starts the proxy, keeps its health true, and drains it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{HostPort, SystemRole};
use agent::{HostAgent, Link, Report};
use api::v1::ProxyReport;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::health::ServiceHealth;
use transport::listen::{Caps, Listener};
use transport::ssh::server::ServerConfig;
use transport::tls::{
    ClientCertificates, Server, ServerCertificates, WebCertificateError, WebCertificates, alpn,
};

use crate::config::{Config, StartError};
use crate::dialer::Dialer;
use crate::front::Front;
use crate::host_key::HostKeys;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::relay_auth::AuthRelay;
use crate::web::Site;

/// A proxy that serves.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    agent: Arc<HostAgent>,
    web: WebCertificates,
    drain: Duration,
    shutdown: CancellationToken,
    /// Ends relays after the time for draining.
    cut: CancellationToken,
    /// Ends the agent, last.
    leave: CancellationToken,
    connections: TaskTracker,
}

/// Opens the port, joins if it has to, and serves from then on. Returns once there is a policy to decide by.
///
/// # Errors
/// When the port, the web certificates or the membership cannot be had; what passes by itself is waited out.
pub async fn start(
    config: Config,
    health: ServiceHealth,
    registry: &mut Registry,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    let metrics = Metrics::register(registry);
    let web = config.web.clone();
    let listener = Listener::bind(config.listen.clone(), caps(&config)).await?;
    let addr = listener.local_addr();
    let public = public(&config, addr);
    let leave = CancellationToken::new();
    // Until it serves, stopping the proxy means giving up; afterwards its agent stays until the drain is over.
    let starting = HostAgent::start(agent_config(&config, addr, &public), &health, leave.clone());
    let agent = tokio::select! {
        agent = starting => Arc::new(agent?),
        () = shutdown.cancelled() => return Err(agent::StartError::Stopped.into()),
    };
    let cut = CancellationToken::new();
    let connections = TaskTracker::new();
    let nodes = Nodes::remembered(agent.node_memory());
    let dialer = Dialer {
        agent: Arc::clone(&agent),
        nodes: nodes.clone(),
        metrics: metrics.clone(),
        keys: HostKeys::default(),
    };
    if let Some(events) = agent.take_nodes() {
        let remember = nodes.clone().remember(agent.node_memory().clone());
        tokio::spawn(leave.clone().run_until_cancelled_owned(remember));
        tokio::spawn(leave.clone().run_until_cancelled_owned(nodes.follow(events, metrics.clone())));
    }
    tokio::spawn(leave.clone().run_until_cancelled_owned(report_health(agent.link(), health)));
    if let Some(every) = config.keypairs_reload {
        tokio::spawn(leave.clone().run_until_cancelled_owned(reload(web.clone(), every)));
    }
    let own = || ServerCertificates::Own(agent.credentials().clone());
    let web_certificates = ServerCertificates::Web(web.clone(), agent.credentials().clone());
    let shown = agent.ssh_host().own().expect("a proxy's agent was given no other key");
    let front = Front {
        proxy_protocol: config.proxy_protocol,
        jump: Arc::new(ServerConfig { max_channels: 64, ..ServerConfig::new(shown) }),
        ssh: Server::new(own(), ClientCertificates::Required, &[alpn::SSH]),
        join: Server::new(own(), ClientCertificates::Ignored, &[alpn::JOIN]),
        web: Server::new(web_certificates, ClientCertificates::Ignored, &[alpn::H2, alpn::HTTP]),
        auth: AuthRelay::new(config.auth.clone(), metrics.clone()),
        site: Site::new(Arc::clone(&agent), addr, public, metrics),
        dialer,
        shutdown: shutdown.clone(),
        cut: cut.clone(),
    };
    connections.spawn(Arc::new(front).accept(listener, connections.clone()));
    tracing::info!(%addr, cluster = %agent.cluster(), "the proxy serves");
    Ok(Running { addr, agent, web, drain: config.drain, shutdown, cut, leave, connections })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The membership.
    #[must_use]
    pub fn agent(&self) -> &Arc<HostAgent> {
        &self.agent
    }

    /// The web certificates, to be loaded again when the configuration or the files have changed.
    #[must_use]
    pub fn web_certificates(&self) -> WebCertificates {
        self.web.clone()
    }

    /// Serves until told to stop, then lets relays end, and cuts those that do not within the time for it.
    pub async fn run(self) {
        self.shutdown.cancelled().await;
        self.connections.close();
        if tokio::time::timeout(self.drain, self.connections.wait()).await.is_err() {
            tracing::warn!(relays = self.connections.len(), "connections are cut: the time to drain is over");
            self.cut.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(5), self.connections.wait()).await;
        }
        self.leave.cancel();
        self.agent.stopped().await;
    }
}

fn caps(config: &Config) -> Caps {
    let caps = Caps::default();
    match config.proxy_protocol {
        // Everybody comes from the load balancer until its header was read.
        true => Caps { strangers_per_address: caps.strangers, ..caps },
        false => caps,
    }
}

/// What clients are told. A wildcard listener with no public address is told by the machine's name.
fn public(config: &Config, addr: SocketAddr) -> Vec<HostPort> {
    let with_port = |public: &HostPort| match public.port() {
        0 => HostPort::new(public.host(), addr.port()).unwrap_or_else(|_| public.clone()),
        _ => public.clone(),
    };
    if !config.public.is_empty() {
        return config.public.iter().map(with_port).collect();
    }
    let host = match addr.ip().is_unspecified() {
        true => config.hostname.clone(),
        false => addr.ip().to_string(),
    };
    HostPort::new(&host, addr.port()).into_iter().collect()
}

fn agent_config(config: &Config, addr: SocketAddr, public: &[HostPort]) -> agent::Config {
    let mut principals: Vec<String> = public.iter().map(|public| public.host().to_owned()).collect();
    if !addr.ip().is_unspecified() {
        principals.push(addr.ip().to_string());
    }
    if addr.ip().is_loopback() {
        principals.push("localhost".to_owned());
    }
    principals.sort_unstable();
    principals.dedup();
    let public_addrs = public.iter().map(HostPort::to_string).collect();
    agent::Config {
        role: SystemRole::Proxy,
        data_dir: config.data_dir.clone(),
        auth: config.auth.clone(),
        join: config.join.clone(),
        hostname: config.hostname.clone(),
        principals,
        ssh_key: None,
        report: Report::Proxy(ProxyReport { public_addrs, version: env!("CARGO_PKG_VERSION").to_owned() }),
    }
}

/// Ready while auth is there: without it, nobody can join or renew through this proxy, though SSH goes on.
async fn report_health(mut link: watch::Receiver<Link>, health: ServiceHealth) {
    loop {
        match &*link.borrow_and_update() {
            Link::Connecting => health.degraded("auth has not been reached yet; SSH goes by the last policy"),
            Link::Up => health.ready(),
            Link::Down(reason) => {
                health.degraded(format!("auth is away ({reason}); SSH goes by the last policy"))
            }
        }
        if link.changed().await.is_err() {
            return;
        }
    }
}

/// Reads the web certificates again and again; files with mistakes change nothing.
async fn reload(web: WebCertificates, every: Duration) {
    let mut failed = false;
    loop {
        tokio::time::sleep(every).await;
        let web = web.clone();
        let loaded = tokio::task::spawn_blocking(move || web.reload()).await;
        match loaded {
            Ok(Err(error)) if !failed => {
                warn(&error);
                failed = true;
            }
            Ok(Ok(())) => failed = false,
            _ => {}
        }
    }
}

fn warn(error: &WebCertificateError) {
    tracing::error!(%error, "web certificates are not reloaded; the old ones stay in use");
}
