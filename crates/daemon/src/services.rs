//! Where the checked configuration meets the services: the only place that names all of them.
//!
//! Order matters: auth first, because the others join it; each is bound and tells where before the next one starts.

mod auth_service;
pub(crate) mod endpoints;
mod node_service;
mod proxy_service;
mod upstream;

use node::{LauncherProcess, SessionLimits};
use tokio_util::sync::CancellationToken;
use transport::{health::ServiceHealth, listen::Listen, rpc::LocalServer, tls::WebCertificates};

use crate::{
    config::Config,
    run::{
        metrics::Metrics,
        ports::Ports,
        reload::Reload,
        supervise::{Service, ServiceError},
    },
};
use endpoints::Endpoints;
pub(crate) use node_service::start_launcher;
use upstream::Way;

pub(crate) use proxy_service::web_certificates;

/// What services are given to live in.
pub(crate) struct Surroundings<'s> {
    pub(crate) config: &'s Config,
    /// The ports of all services, taken already.
    pub(crate) ports: &'s Ports,
    /// The proxy's web certificates, read already.
    pub(crate) web: &'s WebCertificates,
    /// One for each enabled service, by name.
    pub(crate) health: &'s [ServiceHealth],
    pub(crate) metrics: &'s Metrics,
    /// Where services tell that they listen.
    pub(crate) endpoints: &'s Endpoints,
    /// What the daemon was started with, before it changed its own.
    pub(crate) session_limits: &'s SessionLimits,
    /// Cancelled when services shall take nothing new and let open sessions end.
    pub(crate) drain: &'s CancellationToken,
}

impl Surroundings<'_> {
    /// The health of a service that is enabled.
    fn health(&self, service: &str) -> ServiceHealth {
        let health = self.health.iter().find(|health| health.service() == service);
        health.expect("every enabled service has a health").clone()
    }
}

/// What was made with the rights that the process was started with, and is for one service each.
pub(crate) struct Kept {
    /// The socket for local administration, where auth is enabled.
    pub(crate) admin: Option<LocalServer>,
    /// What starts sessions, where there is a node.
    pub(crate) launcher: Option<LauncherProcess>,
}

/// The port of a service that is enabled.
fn listen(port: Option<&Listen>) -> Listen {
    port.expect("every enabled service has a port").clone()
}

/// Makes the enabled services ready to run on their ports.
///
/// # Errors
/// When a service cannot start, with the reason and the next step.
pub(crate) async fn assemble(
    surroundings: &Surroundings<'_>,
    Kept { admin, launcher }: Kept,
) -> Result<(Vec<Service>, Vec<Reload>), ServiceError> {
    let services = &surroundings.config.services;
    let (mut assembled, mut reloads) = (Vec::new(), Vec::new());
    let mut local = None;
    if let Some(config) = &services.auth {
        let running = auth_service::start(surroundings, config, admin).await?;
        local = Some(upstream::Local::of(&running));
        assembled.push(auth_service::service(running, surroundings.drain.clone()));
    }
    let way = |role| Way::find(&services.upstream, local.as_ref(), role);
    if let Some(config) = &services.proxy {
        let running = proxy_service::start(surroundings, config, way(access::SystemRole::Proxy)?).await?;
        reloads.push(proxy_service::reload(&running));
        assembled.push(proxy_service::service(running));
    }
    if let (Some(config), Some(launcher)) = (&services.node, launcher) {
        let way = way(access::SystemRole::Node)?;
        let started = node_service::start(surroundings, config, way, launcher).await?;
        assembled.push(started);
    }
    Ok((assembled, reloads))
}

/// What a service of the daemon is: a name and its work until it has drained.
fn service(name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Service {
    Service {
        name,
        work: Box::pin(async move {
            work.await;
            Ok(())
        }),
    }
}
