//! The host as a whole.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::Check;
use crate::config::{
    Log, LogOutput, Stop,
    address::{parse_listen, parse_public},
    file,
};

/// The part of the configuration that comes from `postern:` alone.
pub(super) struct Global {
    pub(super) data_dir: PathBuf,
    pub(super) user: Option<String>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) diag_addr: Option<SocketAddr>,
    pub(super) log: Log,
    pub(super) stop: Stop,
}

impl Check<'_, '_> {
    pub(super) fn global(&mut self, global: &file::Global) -> Option<Global> {
        let data_dir = self.absolute("postern.data_dir", &global.data_dir);
        let pid_file = given(global.pid_file.as_deref()).map(|path| self.absolute("postern.pid_file", path));
        let diag_addr = given(global.diag_addr.as_deref()).map(|text| self.diag_addr(text));
        if let Some(text) = given(global.advertise_ip.as_deref()) {
            self.report.take("postern.advertise_ip", advertised(text));
        }
        let log = self.log(&global.log);
        let delay = match global.shutdown_delay.as_deref() {
            Some(text) => self.duration("postern.shutdown_delay", text),
            None => Some(Duration::ZERO),
        };
        let drain = self.drain_timeout(&global.drain_timeout);
        Some(Global {
            data_dir: data_dir?,
            user: given(global.user.as_deref()).map(str::to_owned),
            pid_file: super::transpose(pid_file)?,
            diag_addr: super::transpose(diag_addr)?,
            log: log?,
            stop: Stop { delay: delay?, drain: drain? },
        })
    }

    fn diag_addr(&mut self, text: &str) -> Option<SocketAddr> {
        let address = self.report.take("postern.diag_addr", parse_listen(text, super::super::DIAG_PORT))?;
        if !address.ip().is_loopback() {
            self.warnings
                .push(format!("diag_addr {address} is open to the network and asks for no password"));
        }
        Some(address)
    }

    fn drain_timeout(&mut self, text: &str) -> Option<Duration> {
        let timeout = self.ttl("postern.drain_timeout", text)?;
        let bounded =
            timeout.limit().ok_or("a stop must end some time; write how long sessions may take, as 30s");
        self.report.take("postern.drain_timeout", bounded)
    }

    fn log(&mut self, log: &file::Log) -> Option<Log> {
        let output = match given(log.output.as_deref()) {
            None | Some("stderr" | "err" | "2") => LogOutput::Stderr,
            Some("stdout" | "out" | "1") => LogOutput::Stdout,
            Some(path) if path.starts_with('/') => LogOutput::File(path.into()),
            Some(_) => {
                self.report
                    .mistake("postern.log.output", "expected stderr, stdout or the absolute path of a file");
                return None;
            }
        };
        Some(Log { output, severity: log.severity, format: log.format.output })
    }
}

/// Existing files hold empty texts for what is not given.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn advertised(text: &str) -> Result<(), String> {
    parse_public(text, 0).map_err(|error| error.to_string())?;
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(format!("{text:?} is not an IP address; for names and ports, use public_addr of the service"))
        }
    }
}
