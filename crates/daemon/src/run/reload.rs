//! SIGHUP: the configuration is read again. What can change while running does; of the rest, the log says that it
//! waits for a restart. A file with mistakes changes nothing.

use std::path::Path;

use super::logs::Logs;
use crate::config::{self, Config};

/// What a running service does about a changed configuration.
pub type Reload = Box<dyn Fn(&Config) + Send + Sync>;

/// Reads the file again and hands it to the logs and the services.
pub fn reload(running: &mut Config, path: &Path, logs: &Logs, services: &[Reload]) {
    let new = match config::load(path) {
        Ok(new) => new,
        Err(error) => {
            for mistake in error.to_string().lines() {
                tracing::error!(mistake, "configuration is not reloaded");
            }
            return;
        }
    };
    for warning in &new.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = logs.reload(&new.log) {
        tracing::error!(%error, "log file was not opened again, the old one stays; logrotate must create it for the daemon's user");
    }
    for service in services {
        service(&new);
    }
    let waiting = waiting(running, &new);
    if !waiting.is_empty() {
        tracing::warn!(settings = ?waiting, "these settings changed and wait for a restart");
    }
    tracing::info!("configuration reloaded");
}

/// Settings that differ from those the daemon was started with and cannot change while it runs.
fn waiting(running: &Config, new: &Config) -> Vec<&'static str> {
    let Config { node_name, data_dir, user, pid_file, diag_addr, log, stop, services, warnings: _ } = running;
    // The severity and the keypairs change while running.
    let log_stays = log.output == new.log.output && log.format == new.log.format;
    let proxy = |config: &config::Services| {
        config.proxy.clone().map(|proxy| config::ProxyConfig { keypairs: Vec::new(), ..proxy })
    };
    [
        ("nodename", *node_name == new.node_name),
        ("data_dir", *data_dir == new.data_dir),
        ("user", *user == new.user),
        ("pid_file", *pid_file == new.pid_file),
        ("diag_addr", *diag_addr == new.diag_addr),
        ("log", log_stays),
        ("shutdown_delay, drain_timeout", *stop == new.stop),
        ("auth_service", services.auth == new.services.auth),
        ("proxy_service", proxy(services) == proxy(&new.services)),
        ("ssh_service", services.node == new.services.node),
        ("auth_server, proxy_server, join_params, ca_pin", services.upstream == new.services.upstream),
    ]
    .into_iter()
    .filter_map(|(name, same)| (!same).then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::waiting;
    use crate::config::parse;

    #[test]
    fn tells_what_waits_for_a_restart() {
        let read = |text: &str| parse("f", text, "host").expect("valid");
        let old = read("version: v3\n");
        for (text, waits) in [
            ("version: v3\npostern: {log: {severity: DEBUG}}\n", [].as_slice()),
            ("version: v3\nproxy_service: {https_keypairs: [{key_file: /k, cert_file: /c}]}\n", &[]),
            ("version: v3\npostern: {log: {output: stdout}, diag_addr: \":1\"}\n", &["diag_addr", "log"]),
            ("version: v3\nssh_service: {labels: {a: b}}\n", &["ssh_service"]),
            ("version: v3\nproxy_service: {web_listen_addr: \":1\"}\n", &["proxy_service"]),
        ] {
            assert_eq!(waiting(&old, &read(text)), waits, "{text}");
        }
    }
}
