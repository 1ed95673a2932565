//! Starts the auth service, and stops it.

use crate::arm::ResourceManager;
use crate::attempts::Attempts;
use crate::audit::{AuditLog, Event, Export, kind};
use crate::bootstrap::{self, StartError};
use crate::catalog::{Catalog, layout};
use crate::config::Config;
use crate::core::Core;
use crate::issuer::Issuer;
use crate::issuers::Issuers;
use crate::kubernetes::Reviews;
use crate::metrics::Metrics;
use crate::own_host::OwnHost;
use crate::pacing::{Budgets, Pacing};
use crate::policy::Policies;
use crate::presence::Presence;
use crate::sts::Sts;
use crate::tokens::{Fixed, Tokens};
use crate::turnstile::Turnstile;
use crate::web::Web;
use crate::{rpc_policy, services};
use access::{ClusterName, SystemRole};
use identity::trust::TrustBundle;
use join::ChallengeKey;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Engine, SqliteStore, Txn};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::health::ServiceHealth;
use transport::listen::{Caps, Listener};
use transport::rpc::{Limits, LocalServer, RpcServer};
use transport::tls::LiveCredentials;
use zeroize::Zeroizing;

/// The name of the socket for local administration, in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// How often it is tried whether the store takes writes.
const PROBE: Duration = Duration::from_secs(15);

/// An auth service that serves.
pub struct Running {
    /// Where the API is served.
    pub addr: SocketAddr,
    /// Where the local administrator finds it.
    pub admin_socket: PathBuf,
    /// The cluster, as it is called since its first start.
    pub cluster: ClusterName,
    core: Arc<Core>,
    local_tokens: Vec<(SystemRole, Zeroizing<String>)>,
    tasks: TaskTracker,
    export: Export,
    background: CancellationToken,
}

/// Opens the store, makes the cluster if there is none, and serves until `shutdown`.
pub async fn start(
    config: Config,
    health: ServiceHealth,
    registry: &mut Registry,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    data_dir(&config.data_dir)?;
    let engine: Arc<dyn Engine> = Arc::new(SqliteStore::open(&config.storage, config.store.clone())?);
    let opened = bootstrap::open(&engine, &config).await?;
    let name = opened.cluster.name.clone();
    if name != config.cluster_name {
        tracing::warn!(
            cluster = %name, configured = %config.cluster_name,
            "cluster_name was fixed at the first start; the one in the configuration is ignored"
        );
    }
    let audit = AuditLog::new(engine.clone(), config.clock(), name.as_str());
    bootstrap::apply_settings(&engine, &config, &audit).await?;
    let local_tokens = local_tokens()?;
    let own_host = OwnHost::new(&opened.cluster, &config.public);
    let core = Arc::new(core(&config, engine, audit, opened, &local_tokens, Metrics::new(registry)).await?);
    core.presence.metrics.register(registry);
    let untold = core.catalog.refusals.untold.clone();
    registry.register("auth_refusals_untold", "Refusals of members that the audit log only counts", untold);
    let live = LiveCredentials::new(own_host.credentials(&core).await?)?;
    let listener = Listener::bind(config.listen, Caps::default()).await?;
    let addr = listener.local_addr();
    let admin_socket = config.data_dir.join(ADMIN_SOCKET);
    let admin = match config.admin {
        Some(made) => made,
        None => LocalServer::bind(&admin_socket).map_err(StartError::Socket)?,
    };
    let routes = rpc_policy::guarded(services::routes(&core, &shutdown), core.catalog.clone());

    let (tasks, background) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(core.catalog.clone().follow(background.clone()));
    tasks.spawn(own_host.renew(core.clone(), live.clone(), background.clone()));
    tasks.spawn(watch_health(core.clone(), health, background.clone()));
    services::background(&core, &tasks, &background);
    let limits = Limits::default();
    tasks.spawn(admin.serve(routes.clone(), limits, shutdown.clone()));
    let server = RpcServer { listener, credentials: live, routes, limits, shutdown: shutdown.clone() };
    tasks.spawn(server.serve());
    let export = Export::start(core.audit(), config.data_dir.join("log"));
    core.note(Event::new(kind::SERVICE_START).with("service", "auth").with("addr.local", addr.to_string()))
        .await;
    tracing::info!(cluster = %name, %addr, "auth serves");
    let cluster = name;
    Ok(Running { addr, admin_socket, cluster, core, local_tokens, tasks, export, background })
}

impl Running {
    /// A token with which a service of this very process joins in a role; it is in memory only and ends with the
    /// process.
    pub fn local_token(&self, role: SystemRole) -> Option<Zeroizing<String>> {
        self.local_tokens.iter().find(|(of, _)| *of == role).map(|(_, token)| token.clone())
    }

    /// The service from within its process: no table stands in front of it.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Whom members of the cluster trust.
    pub fn trust(&self) -> Arc<TrustBundle> {
        self.core.issuer.trust()
    }

    /// Returns when everything has ended, after the shutdown that was given to [`start`].
    pub async fn finished(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        self.core.note(Event::new(kind::SERVICE_STOP).with("service", "auth")).await;
        self.background.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.export.stop().await;
        tracing::info!("auth has stopped");
    }
}

fn data_dir(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StartError::DataDir { path: path.to_owned(), error })
}

fn local_tokens() -> Result<Vec<(SystemRole, Zeroizing<String>)>, StartError> {
    let token = |role| match Tokens::random_name() {
        Ok(name) => Ok((role, Zeroizing::new(name))),
        Err(_) => Err(StartError::OwnCertificate("the system's randomness failed".to_owned())),
    };
    [SystemRole::Proxy, SystemRole::Node].into_iter().map(token).collect()
}

async fn core(
    config: &Config,
    engine: Arc<dyn Engine>,
    audit: AuditLog,
    opened: bootstrap::Opened,
    local_tokens: &[(SystemRole, Zeroizing<String>)],
    metrics: Metrics,
) -> Result<Core, StartError> {
    let given = config.static_tokens.iter().map(|token| Fixed::new(&token.secret, token.roles.clone()));
    let local = local_tokens.iter().map(|(role, token)| Fixed::local(token, *role));
    let tokens = Tokens::new(&opened.envelope, given.chain(local).collect());
    let mut secret = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(secret.as_mut())
        .map_err(|_| StartError::OwnCertificate("the system's randomness failed".to_owned()))?;
    let catalog = Arc::new(Catalog::open(engine, audit, config.clock()).await?);
    let (authorities, revision) = opened.authorities;
    let web = Web::new(config.issuer_roots.clone(), config.reach.clone());
    Ok(Core {
        cluster: opened.cluster.name,
        issuer: Issuer::new(authorities, revision),
        workload_issuer: config.workload_issuer.clone(),
        tokens: Arc::new(tokens),
        challenges: ChallengeKey::new(&secret),
        pacing: Pacing::new(catalog.now()),
        budgets: Budgets::new(catalog.now()),
        renewals: Turnstile::new(Instant::now()),
        joins: Turnstile::new(Instant::now()),
        issuers: Issuers::new(web.clone(), config.clock()),
        sts: Sts::new(web.clone(), config.clock()),
        arm: ResourceManager::new(web, config.clock()),
        kubernetes: config.kubernetes.clone().map(|api| Reviews::new(api, config.clock())),
        attempts: Attempts::default(),
        presence: Arc::new(Presence::default()),
        policies: Policies::default(),
        metrics,
        catalog,
    })
}

/// Auth can do its job while its store takes writes and what is in it can be read. A write that fails is seen at once;
/// where nobody writes, a probe finds out.
async fn watch_health(core: Arc<Core>, health: ServiceHealth, stop: CancellationToken) {
    let mut changes = core.catalog.writes.changes();
    let mut probe = tokio::time::interval(PROBE);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = probe.tick() => {
                // What came of it is in `writes`.
                let _ = core.catalog.commit(Txn::new().put(layout::probe(), "")).await;
            }
            _ = changes.changed() => {}
        }
        match (core.catalog.writes.trouble(), core.catalog.view().intact()) {
            (None, Ok(())) => health.ready(),
            (Some(trouble), _) => health.degraded(&*trouble),
            (_, Err(damaged)) => health.degraded(damaged.to_string()),
        }
    }
}
