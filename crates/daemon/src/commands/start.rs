//! `postern start`: in this order configuration, logs, locks, ports, what else needs the rights it was started with; then it
//! gives those up; then threads, services, and the watch over them.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use node::SessionLimits;
use tokio_util::sync::CancellationToken;
use transport::{health::ServiceHealth, tls::WebCertificates};

use super::{
    fail, fail_config,
    settle::{Settled, settle},
};
use crate::{
    cli::Start,
    config::{self, Config, LogOutput},
    defaults,
    privileges::{self, files},
    run::{
        board::Board,
        data_dir::DataDir,
        diag::Diag,
        harden,
        logs::{self, Logs},
        metrics::Metrics,
        ports::{self, Ports},
        reload,
        signals::Signals,
        starting::Starting,
        supervise::{ServiceError, Watch},
    },
    services::{self, Kept, Surroundings, endpoints::Endpoints},
};

/// The most threads of a process that is a node and nothing else.
const NODE_THREADS: usize = 4;

pub(crate) fn start(arguments: &Start) -> ExitCode {
    // Nothing of ours is open yet, and nothing is taken from who starts this, a service manager included. What a shell or a
    // script left open would be the daemon's as long as it runs, and that of whoever takes it over.
    if let Err(error) = node::close_inherited() {
        return fail(format_args!("cannot close what was inherited: {error}"));
    }
    // Before anything changes them: sessions get the host's limits, not the daemon's.
    let session_limits = SessionLimits::capture();
    let path = config_path(arguments);
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(error) => return fail_config(&error),
    };
    let logs = match logs::start(&config.log, arguments.debug, opens_log_now(&config)) {
        Ok(logs) => logs,
        Err(error) => return fail(error),
    };
    match run(config.clone(), path, logs, &session_limits) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if config.log.output != LogOutput::Stderr {
                tracing::error!(%error, "daemon ended");
            }
            fail(error)
        }
    }
}

/// As root only where nobody else can have put a link in the file's place. Otherwise the daemon's own user opens it.
fn opens_log_now(config: &Config) -> bool {
    match &config.log.output {
        LogOutput::File(path) => !privileges::is_root() || files::is_roots_alone(path),
        LogOutput::Stderr | LogOutput::Stdout => true,
    }
}

fn config_path(arguments: &Start) -> PathBuf {
    let from_environment = || defaults::CONFIG_VARIABLES.iter().find_map(std::env::var_os);
    let path = arguments.config.clone().or_else(|| from_environment().map(PathBuf::from));
    path.unwrap_or_else(|| defaults::CONFIG_FILE.into())
}

fn run(
    config: Config,
    path: PathBuf,
    logs: Logs,
    session_limits: &SessionLimits,
) -> Result<(), ServiceError> {
    harden::log_panics();
    harden::no_core_dumps().map_err(|error| format!("cannot switch core dumps off: {error}"))?;
    harden::many_open_files();
    let _data_dir = DataDir::lock(&config.data_dir)?;
    let taken = Taken::take(&config)?;
    // What keeps these rights; it never hears of the network but from the node.
    let launcher = services::start_launcher(&config, session_limits)?;
    let Settled { pid_file: _pid_file, admin } = settle(&config, &path, &logs)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads(&config.services.names(), cores);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(serve(config, taken, &path, logs, session_limits, Kept { admin, launcher }));
    // Blocking work that hangs must not keep a stopped daemon alive.
    runtime.shutdown_background();
    ended
}

/// How many threads carry the services. A node is a guest on its machine: each thread costs memory there (a stack, and a
/// heap of its own in glibc), and the work of sessions is done by other processes.
fn threads(services: &[&str], cores: usize) -> usize {
    match services == ["node"] {
        true => cores.min(NODE_THREADS),
        false => cores,
    }
}

/// What was taken with the rights that the process was started with.
struct Taken {
    ports: Ports,
    web: WebCertificates,
    /// With the content of the files that it names.
    config: Config,
}

impl Taken {
    fn take(config: &Config) -> Result<Self, ServiceError> {
        let ports = ports::take(config)?;
        let web = services::web_certificates(config)?;
        Ok(Self { ports, web, config: config.with_files_read() })
    }
}

async fn serve(
    config: Config,
    taken: Taken,
    path: &Path,
    logs: Logs,
    session_limits: &SessionLimits,
    kept: Kept,
) -> Result<(), ServiceError> {
    let mut signals = Signals::listen()?;
    let health: Vec<ServiceHealth> = config.services.names().into_iter().map(ServiceHealth::new).collect();
    let board = Arc::new(Board::new(health.clone()));
    let metrics = Metrics::new(Arc::clone(&board));
    let drain = CancellationToken::new();
    // Served until the very end, so that a drain can be followed.
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let endpoints = Endpoints::new(&config.data_dir);
    if let Some(listen) = taken.ports.diag.clone() {
        let address = listen.addr();
        let diag = Diag::bind(listen, Arc::clone(&board), metrics.clone());
        let diag = diag.map_err(|error| format!("diag_addr {address}: {error}; choose another"))?;
        tracing::info!(address = %diag.address()?, "serving health and metrics");
        endpoints.tell("diag", diag.address()?);
        tokio::spawn(diag.serve(ended));
    }
    let surroundings = Surroundings {
        config: &taken.config,
        ports: &taken.ports,
        web: &taken.web,
        health: &health,
        metrics: &metrics,
        endpoints: &endpoints,
        session_limits,
        drain: &drain,
    };
    let assembling = services::assemble(&surroundings, kept);
    let starting = Starting { board: &board, drain: &drain };
    let Some((services, reloads)) = starting.until(assembling, async || signals.next().await).await? else {
        tracing::info!("stopped before all services had started");
        return Ok(());
    };
    privileges::no_more_listeners();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), services = ?config.services.names(), "started");
    let stop = config.stop;
    let mut running = config;
    let reload = || reload::reload(&mut running, path, &logs, &reloads);
    let watch = Watch { board, drain, stop, reload };
    Ok(watch.run(services, async || signals.next().await).await?)
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn a_node_takes_few_threads_of_a_large_machine() {
        for (services, cores, expected) in [
            (&["node"][..], 64, 4),
            (&["node"], 2, 2),
            (&["auth", "proxy", "node"], 64, 64),
            (&["proxy"], 64, 64),
        ] {
            assert_eq!(threads(services, cores), expected, "{services:?} {cores}");
        }
    }
}
