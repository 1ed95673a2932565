//! SIGTERM and SIGINT stop, SIGHUP reads the configuration again, SIGUSR1 renews now.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time was over.
    Due,
    /// Everything is to be renewed.
    Renew,
    /// The configuration is to be read again.
    Reload,
    /// The agent is to end.
    Stop,
    /// The cluster said something.
    News,
}

/// What others can tell a running agent.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Runs `work` unless a signal to stop comes first. What was prepared stays prepared; the next start goes on.
    pub async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => Some(done),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }

    /// Waits, at most `pause`.
    pub async fn wait(&mut self, pause: Duration) -> Wake {
        self.wait_or(pause, std::future::pending()).await
    }

    /// The same, and no longer than `news` takes.
    pub async fn wait_or(&mut self, pause: Duration, news: impl Future<Output = ()>) -> Wake {
        tokio::select! {
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
            _ = self.hang_up.recv() => Wake::Reload,
            _ = self.user.recv() => Wake::Renew,
            () = news => Wake::News,
            () = tokio::time::sleep(pause) => Wake::Due,
        }
    }
}
