//! The auth service.

use auth::{Config, Running, StaticToken, StoreOptions};

use tokio_util::sync::CancellationToken;
use transport::rpc::LocalServer;
use zeroize::Zeroizing;

use super::Surroundings;
use crate::{
    config::AuthConfig,
    run::{
        metrics::Metrics,
        supervise::{Service, ServiceError},
    },
};

pub(super) async fn start(
    surroundings: &Surroundings<'_>,
    config: &AuthConfig,
    admin: Option<LocalServer>,
) -> Result<Running, ServiceError> {
    let mut static_tokens = Vec::new();
    for token in &config.static_tokens {
        let secret = token.secret.reveal().map_err(|error| format!("auth_service.tokens: {error}"))?;
        let roles = token.roles.iter().copied().collect();
        static_tokens.push(StaticToken { roles, secret: Zeroizing::new(secret) });
    }
    let told = Config {
        data_dir: surroundings.config.data_dir.clone(),
        storage: config.storage.clone(),
        store: StoreOptions::default(),
        cluster_name: config.cluster_name.clone(),
        listen: super::listen(surroundings.ports.auth.as_ref()),
        public: config.public.clone(),
        static_tokens,
        preference: config.preference.clone(),
        networking: config.networking.clone(),
        admin,
        workload_issuer: config.workload_issuer.clone(),
        issuer_roots: vec![],
        reach: vec![],
        kubernetes: auth::kubernetes::KubernetesApi::of_environment(),
    };
    let mut registry = Metrics::registry();
    let running =
        auth::start(told, surroundings.health("auth"), &mut registry, surroundings.drain.clone()).await?;
    surroundings.metrics.adopt(registry);
    surroundings.endpoints.tell("auth", running.addr);
    Ok(running)
}

pub(super) fn service(running: Running, drain: CancellationToken) -> Service {
    super::service("auth", running.finished(drain))
}
