//! The proxy service.

use proxy::{Config, Running, WebKeypair};
use transport::tls::{WebCertificateError, WebCertificates};

use super::{Surroundings, upstream::Way};
use crate::{
    config::{Keypair, ProxyConfig},
    run::{
        metrics::Metrics,
        reload::Reload,
        supervise::{Service, ServiceError},
    },
};

/// Reads the web certificates of the proxy, if there is one and has any.
///
/// # Errors
/// When one cannot be used.
pub(crate) fn web_certificates(
    config: &crate::config::Config,
) -> Result<WebCertificates, WebCertificateError> {
    let web = WebCertificates::default();
    if let Some(proxy) = &config.services.proxy {
        web.load(&keypairs(&proxy.keypairs))?;
    }
    Ok(web)
}

pub(super) async fn start(
    surroundings: &Surroundings<'_>,
    config: &ProxyConfig,
    way: Way,
) -> Result<Running, ServiceError> {
    let told = Config {
        listen: super::listen(surroundings.ports.proxy.as_ref()),
        public: config.public.clone(),
        web: surroundings.web.clone(),
        keypairs_reload: config.keypairs_reload,
        proxy_protocol: config.proxy_protocol,
        data_dir: surroundings.config.data_dir.clone(),
        auth: way.auth,
        join: way.join,
        hostname: surroundings.config.node_name.to_string(),
        drain: surroundings.config.stop.drain,
    };
    let mut registry = Metrics::registry();
    let running =
        proxy::start(told, surroundings.health("proxy"), &mut registry, surroundings.drain.clone()).await?;
    running.agent().audit().register(registry.sub_registry_with_prefix("proxy"));
    surroundings.metrics.adopt(registry);
    surroundings.endpoints.tell("proxy", running.local_addr());
    Ok(running)
}

/// Reads the web certificates again; when one cannot be used, all stay as they are.
pub(super) fn reload(running: &Running) -> Reload {
    let web = running.web_certificates();
    Box::new(move |config| {
        let Some(config) = &config.services.proxy else { return };
        if let Err(error) = web.load(&keypairs(&config.keypairs)) {
            tracing::error!(%error, "the web certificates are not changed");
        }
    })
}

pub(super) fn service(running: Running) -> Service {
    super::service("proxy", running.run())
}

fn keypairs(configured: &[Keypair]) -> Vec<WebKeypair> {
    let pair =
        |pair: &Keypair| WebKeypair { key_file: pair.key_file.clone(), cert_file: pair.cert_file.clone() };
    configured.iter().map(pair).collect()
}
