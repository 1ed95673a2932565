//! What a service manager wants to know (sd_notify(3)): ready, how it is, alive, stopping. Where there is none, nothing.

use crate::health::{self, Health, Service};
use jiff::Timestamp;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longer texts are cut: they are for one line of `systemctl status`.
const LONGEST_STATUS: usize = 200;

/// A line to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// What is alive, until the watch over it has begun.
    watched: Option<Health>,
    ready: bool,
    told: String,
}

impl Notifier {
    /// To whom the environment says, if anybody, about an agent of this health.
    pub fn from_environment(health: Health) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let address = variable("NOTIFY_SOCKET").and_then(|path| address(&path));
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|text| text.parse().ok());
        let watchdog = watchdog.filter(|usec| *usec > 0).map(Duration::from_micros);
        Self { socket, watchdog, watched: Some(health), ready: false, told: String::new() }
    }

    /// How the services are; the first time that everything is valid, the start is over.
    pub fn tell(&mut self, services: &[Service], is_ready: bool) {
        let status: String =
            health::summary(services, Timestamp::now()).chars().take(LONGEST_STATUS).collect();
        let status = status.replace('\n', " ");
        if self.told != status {
            self.send(&format!("STATUS={status}"));
            self.told = status;
        }
        if is_ready && !self.ready {
            self.ready = true;
            self.send("READY=1");
            self.keep_watch();
        }
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Says that it is alive as long as this process turns and everything it keeps is valid. Half the time that it has is
    /// the pause, as sd_watchdog_enabled(3) advises.
    fn keep_watch(&mut self) {
        let Some(health) = self.watched.take() else { return };
        let (Some(limit), Some((socket, address))) = (self.watchdog, &self.socket) else { return };
        let Ok(socket) = socket.try_clone() else { return };
        let address = address.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(limit / 2).await;
                if health.is_ready(Timestamp::now()) {
                    let _ = socket.send_to_addr(b"WATCHDOG=1", &address);
                }
            }
        });
    }

    /// A manager that does not listen is its own problem.
    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

fn address(path: &str) -> Option<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if path.starts_with('/') => SocketAddr::from_pathname(path).ok(),
        None => None,
    }
}
