//! From the file as written to the checked configuration, section by section.
//!
//! Each check goes on after a mistake, so that all of them are reported; `None` means that there was one.

mod auth;
mod global;
mod proxy;
mod ssh;
mod upstream;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use access::{HostPort, NodeName, Ttl};
use yaml::{Mistakes, Reader, Report};

use super::{
    Config, Services,
    address::{parse_listen, parse_public},
    file,
    file::File,
    refused::REFUSED,
};

/// Reads `text` as a configuration. `name` is the file's name in messages; `system_name` the host name of the system.
///
/// # Errors
/// All mistakes of the file, those of spelling and type together with those of meaning.
pub fn parse(name: &str, text: &str, system_name: &str) -> Result<Config, Mistakes> {
    let reader = Reader::new(name).alias("postern", "teleport").refusals(&REFUSED);
    reader.check(text, |file: File, report| {
        Check { report, system_name, advertised: file.postern.advertise_ip.clone(), warnings: Vec::new() }
            .file(&file)
    })
}

/// What all sections need for being checked.
struct Check<'c, 'r> {
    report: &'c mut Report<'r>,
    system_name: &'c str,
    /// `advertise_ip` as written.
    advertised: Option<String>,
    warnings: Vec<String>,
}

impl Check<'_, '_> {
    fn file(mut self, file: &File) -> Option<Config> {
        self.version(file.version.as_deref());
        let node_name = self.node_name(&file.postern);
        let global = self.global(&file.postern);
        // Reported from every section, also when an earlier one has mistakes: hence no `?` before the end.
        let auth = file.auth_service.enabled.then(|| self.auth(file, node_name.as_ref()));
        let proxy = file.proxy_service.enabled.then(|| self.proxy(&file.proxy_service));
        let node = file.ssh_service.enabled.then(|| self.ssh(&file.ssh_service));
        let upstream = self.upstream(file);
        self.distinct_ports(file);
        let services = Services {
            auth: transpose(auth)?,
            proxy: transpose(proxy)?,
            node: transpose(node)?,
            upstream: upstream?,
        };
        let global = global?;
        Some(Config {
            node_name: node_name?,
            data_dir: global.data_dir,
            user: global.user,
            pid_file: global.pid_file,
            diag_addr: global.diag_addr,
            log: global.log,
            stop: global.stop,
            services,
            warnings: self.warnings,
        })
    }

    fn version(&mut self, version: Option<&str>) {
        let text = match version {
            Some("v3") => return,
            None => "missing; write \"version: v3\" at the top".to_owned(),
            Some("v1" | "v2") => {
                "this version is no longer read; write v3, replace auth_servers by one auth_server \
                                  or proxy_server, and remove the addresses of single protocols"
                    .to_owned()
            }
            Some(other) => format!("unknown version {other:?}; this daemon reads v3"),
        };
        self.report.mistake("version", text);
    }

    fn node_name(&mut self, global: &file::Global) -> Option<NodeName> {
        let from_system = global.nodename.is_none();
        let name = NodeName::new(global.nodename.as_deref().unwrap_or(self.system_name));
        let name = name.map_err(|error| match from_system {
            true => format!("the host name of the system cannot be used: {error}; choose a name here"),
            false => error.to_string(),
        });
        self.report.take("postern.nodename", name)
    }

    fn listen(&mut self, path: &str, text: &str, port: u16) -> Option<SocketAddr> {
        self.report.take(path, parse_listen(text, port))
    }

    /// Public addresses, or the advertised one with the port that is listened on.
    fn public(&mut self, path: &str, texts: &file::Texts, listen: Option<SocketAddr>) -> Vec<HostPort> {
        let port = listen.map_or(0, |listen| listen.port());
        let mut public = Vec::new();
        for (path, text) in texts.with_paths(path) {
            public.extend(self.report.take(path.as_str(), parse_public(text, port)));
        }
        if public.is_empty()
            && let Some(advertised) = self.advertised.as_deref()
        {
            // A wrong one is reported where it stands.
            public.extend(HostPort::new(advertised, port).ok());
        }
        public
    }

    /// A duration that may be `never`, which is `None` inside.
    fn ttl(&mut self, path: &str, text: &str) -> Option<Ttl> {
        self.report.take(path, text.parse())
    }

    fn duration(&mut self, path: &str, text: &str) -> Option<Duration> {
        self.ttl(path, text).map(|ttl| ttl.0)
    }

    fn absolute(&mut self, path: &str, text: &str) -> Option<PathBuf> {
        let result = match Path::new(text) {
            absolute if absolute.is_absolute() => Ok(absolute.to_owned()),
            _ => Err("is not an absolute path; begin it with /"),
        };
        self.report.take(path, result)
    }

    /// Two services cannot listen on one port.
    fn distinct_ports(&mut self, file: &File) {
        let given = [
            ("auth_service.listen_addr", file.auth_service.enabled, &file.auth_service.listen_addr),
            (
                "proxy_service.web_listen_addr",
                file.proxy_service.enabled,
                &file.proxy_service.web_listen_addr,
            ),
            ("ssh_service.listen_addr", file.ssh_service.enabled, &file.ssh_service.listen_addr),
        ];
        let ports = [super::AUTH_PORT, super::PROXY_PORT, super::SSH_PORT];
        let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
        let enabled = given.into_iter().zip(ports).filter(|((_, enabled, _), _)| *enabled);
        for ((path, _, text), port) in enabled {
            let Ok(address) = parse_listen(text, port) else { continue };
            match taken.iter().find(|(_, other)| overlap(*other, address)) {
                Some((other, _)) => {
                    self.report.mistake(path, format!("{address} is taken by {other}; change one"))
                }
                None => taken.push((path, address)),
            }
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// A service that is not enabled is no mistake; one that is and could not be checked is.
#[expect(clippy::option_option, reason = "outer: enabled; inner: without mistakes")]
fn transpose<S>(service: Option<Option<S>>) -> Option<Option<S>> {
    match service {
        None => Some(None),
        Some(checked) => checked.map(Some),
    }
}
