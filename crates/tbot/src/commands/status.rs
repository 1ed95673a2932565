//! `tbot status`: how the agent on this machine is, from what it keeps in its storage.

use super::{NOT_READY, Place};
use crate::agent::refresh;
use crate::agent::report::{self, Report};
use crate::health::{Kind, Service, http};
use crate::program::Global;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Flags of `tbot status`.
#[derive(Debug, Args)]
pub struct StatusFlags {
    /// Where the agent keeps its own identity; from the configuration file, else /var/lib/teleport/bot
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Yaml,
}

/// Prints it. Exit code 0 when everything is valid and the agent runs, 3 when not.
pub fn run(global: &Global, flags: &StatusFlags) -> Result<ExitCode, String> {
    let seen = Seen::look(&Place::find(global.config.clone(), flags.data_dir.as_deref())?)?;
    let now = Timestamp::now();
    let text = match flags.format {
        Format::Text => seen.text(now),
        Format::Json => format!("{:#}\n", seen.value(now)),
        Format::Yaml => serde_saphyr::to_string(&seen.value(now)).map_err(|error| error.to_string())?,
    };
    crate::console::print(&text)?;
    let healthy = seen.running && seen.is_ready(now, false);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(NOT_READY) })
}

/// What can be seen of an agent from outside.
pub(super) struct Seen {
    place: String,
    running: bool,
    report: Option<Report>,
    /// Those of the report, then outputs of the configuration that the agent does not know.
    services: Vec<Service>,
}

impl Seen {
    pub(super) fn look(place: &Place) -> Result<Self, String> {
        if !place.storage.is_persistent() {
            return Err(
                "the agent's storage is in memory, where nobody else can look; ask its diag_addr".to_owned()
            );
        }
        // An agent that starts removes the report of the one before, once it has the lock.
        let running = report::is_running(&place.storage);
        let report = Report::read(&place.storage).map_err(|error| error.to_string())?;
        let mut services = report.as_ref().map(|report| report.services.clone()).unwrap_or_default();
        for output in &place.outputs {
            let at = services.iter().position(|service| service.name == output.name);
            let at = at.unwrap_or_else(|| {
                let destination = Some(output.place());
                services
                    .push(Service { destination, ..Service::new(&output.name, Kind::of(&output.content)) });
                services.len() - 1
            });
            // The files themselves say what they are good for.
            if output.destination.is_persistent() {
                services[at].expires = refresh::expires(output);
            }
        }
        Ok(Self { place: place.storage.to_string(), running, report, services })
    }

    /// Whether everything is valid; with `fresh`, written by the agent that runs now.
    pub(super) fn is_ready(&self, now: Timestamp, fresh: bool) -> bool {
        self.missing(now, fresh).is_none()
    }

    /// Why not.
    pub(super) fn missing(&self, now: Timestamp, fresh: bool) -> Option<String> {
        if fresh && !self.running {
            return Some("no agent runs; start it with tbot start".to_owned());
        }
        if self.running && self.report.is_none() {
            return Some(format!("{}, so nobody knows how the agent is", self.unwritten()));
        }
        if self.services.is_empty() {
            return Some("no agent has said anything of itself; see its log".to_owned());
        }
        let since = self.report.as_ref().map(|report| report.started_at);
        let is_fresh = |service: &Service| {
            service.kind == Kind::Heartbeat || service.last_success.is_some_and(|at| Some(at) >= since)
        };
        self.services.iter().find_map(|service| {
            let name = &service.name;
            match service.is_ready(now) {
                false => Some(format!("{name}: {}", service.reason(now))),
                true if fresh && !is_fresh(service) => {
                    let reason = service.problem.as_deref().unwrap_or("see its log");
                    Some(format!("{name}: valid, but not renewed by the agent that runs now: {reason}"))
                }
                true => None,
            }
        })
    }

    /// An agent writes its report as soon as it runs.
    fn unwritten(&self) -> String {
        format!(
            "its report could not be written: see its log, and whether there is room in the {}",
            self.place
        )
    }

    fn value(&self, now: Timestamp) -> Value {
        let services: Vec<Value> = self.services.iter().map(|service| http::describe(service, now)).collect();
        let report = self.report.as_ref();
        json!({
            "running": self.running,
            "ready": self.is_ready(now, false),
            "pid": report.filter(|_| self.running).map(|report| report.pid),
            "started_at": report.map(|report| report.started_at),
            "written_at": report.map(|report| report.written_at),
            "server": report.map(|report| &report.server),
            "instance": report.and_then(|report| report.instance.as_ref()),
            "version": report.map(|report| &report.version),
            "storage": self.place,
            "services": services,
        })
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let head = match (&self.report, self.running) {
            (Some(report), true) => format!(
                "tbot {} runs (pid {}) since {:.0}, for {}\n",
                report.version, report.pid, report.started_at, report.server
            ),
            (Some(report), false) => {
                format!(
                    "tbot does not run; it was last seen at {:.0}, for {}\n",
                    report.written_at, report.server
                )
            }
            (None, true) => format!("tbot runs, but {}\n", self.unwritten()),
            (None, false) => format!(
                "tbot does not run, and none has left word in the storage {}; start it with tbot start\n",
                self.place
            ),
        };
        let who = self.report.as_ref().and_then(|report| report.instance.as_ref());
        let head = head + &who.map(|instance| format!("It is the bot {instance}\n")).unwrap_or_default();
        let mut rows = vec![["NAME", "STATUS", "VALID FOR", "DESTINATION"].map(str::to_owned)];
        rows.extend(self.services.iter().map(|service| row(service, now)));
        let mut text = head;
        if rows.len() > 1 {
            text += &format!("\n{}", crate::console::columns(&rows));
        }
        for service in &self.services {
            let reason = service.reason(now);
            if !reason.is_empty() {
                text += &format!("\n{}: {reason}\n", service.name);
            }
        }
        text
    }
}

fn row(service: &Service, now: Timestamp) -> [String; 4] {
    let left = match service.expires.map(|expires| expires.duration_since(now)) {
        Some(left) if left.is_positive() => format!("{} min", left.as_mins().max(1)),
        Some(_) => "expired".to_owned(),
        None => "-".to_owned(),
    };
    let status = service.status(now).as_str().to_owned();
    [service.name.clone(), status, left, service.destination.clone().unwrap_or_else(|| "-".to_owned())]
}
