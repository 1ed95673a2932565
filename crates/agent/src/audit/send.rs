//! From the queue to the spool, and from the spool to auth.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::status::{Class, Problem};
use api::v1::EmitRequest;
use api::v1::audit_service_client::AuditServiceClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use transport::Backoff;
use transport::health::ServiceHealth;
use transport::rpc::{Channel, within};

use super::losses::Losses;
use super::spool::{Entry, Spool};
use crate::renewal::reason;

/// Events in one call, and about how many bytes of them.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1024 * 1024;
const CALL: Duration = Duration::from_secs(20);
/// Between two calls. What a session reports comes in a few pieces within milliseconds, and each call costs both sides as
/// much as a good part of the session; on disk it is at once.
const BETWEEN_CALLS: Duration = Duration::from_millis(50);
/// Between two attempts to write what could not be written.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// After being told to stop: for what is left.
const LAST_CALL: Duration = Duration::from_secs(3);

pub(super) struct Sender {
    pub(super) events: mpsc::Receiver<Entry>,
    /// Absent only while a blocking task has it.
    pub(super) spool: Option<Spool>,
    pub(super) channel: Channel,
    pub(super) health: ServiceHealth,
    pub(super) losses: Losses,
    /// How many are in the queue and in the spool.
    pub(super) waiting: Arc<AtomicUsize>,
}

impl Sender {
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        let mut again = Instant::now();
        let mut write_again = tokio::time::interval(WRITE_AGAIN);
        write_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (idle, in_memory) = (self.spool().is_empty(), !self.spool().is_written());
            tokio::select! {
                () = shutdown.cancelled() => break,
                first = self.events.recv() => match first {
                    Some(first) => self.keep(Some(first)).await,
                    None => break,
                },
                _ = write_again.tick(), if in_memory => self.keep_again().await,
                () = tokio::time::sleep_until(again), if !idle => match self.send(CALL).await {
                    Ok(()) => {
                        backoff.reset();
                        again = Instant::now() + BETWEEN_CALLS;
                    }
                    Err(error) => {
                        tracing::debug!(error, "audit events wait for auth");
                        again = Instant::now() + backoff.next_wait();
                    }
                },
            }
        }
        // Whatever is still being said about the end is said by tasks that end with the service.
        self.events.close();
        self.keep(None).await;
        let last = async { while !self.spool().is_empty() && self.send(LAST_CALL).await.is_ok() {} };
        let _ = tokio::time::timeout(LAST_CALL, last).await;
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().expect("the spool is back after every blocking task")
    }

    /// Moves `first` and everything behind it into the spool.
    async fn keep(&mut self, first: Option<Entry>) {
        let mut entries: Vec<_> = first.into_iter().collect();
        while entries.len() < BATCH
            && let Ok(entry) = self.events.try_recv()
        {
            entries.push(entry);
        }
        if entries.is_empty() {
            return;
        }
        let (lost, kept) = self.blocking(|spool| spool.append(entries)).await;
        self.tell(kept);
        if lost > 0 {
            self.waiting.fetch_sub(lost, Ordering::Relaxed);
            self.losses.add(lost as u64, "the audit spool is full until auth can be reached");
        }
    }

    /// What waits in memory alone is written without waiting for more.
    async fn keep_again(&mut self) {
        let kept = self.blocking(Spool::write).await;
        self.tell(kept);
    }

    fn tell(&self, kept: io::Result<()>) {
        let complaint = kept.err().map(|error| {
            format!("audit events cannot be kept on disk; they wait in memory and would be lost at a restart: {error}")
        });
        self.health.part("audit", complaint);
    }

    async fn send(&mut self, deadline: Duration) -> Result<(), String> {
        let batch = self.spool().next(BATCH, BATCH_BYTES);
        match self.emit(&batch, deadline).await {
            Ok(()) => {}
            // One bad event refuses its whole batch; alone it can be told from the good ones.
            Err(status) if is_bad(&status) => {
                for entry in &batch {
                    match self.emit(std::slice::from_ref(entry), deadline).await {
                        Ok(()) => {}
                        Err(status) if is_bad(&status) => {
                            self.losses.add(1, &format!("auth refuses them: {}", reason(&status)));
                        }
                        Err(status) => return Err(reason(&status)),
                    }
                }
            }
            Err(status) => return Err(reason(&status)),
        }
        let count = batch.len();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        if let Err(error) = self.blocking(move |spool| spool.acknowledge(count)).await {
            tracing::warn!(%error, "the audit spool cannot be shortened; sent events may be sent again");
        }
        if self.spool().is_written() {
            self.tell(Ok(()));
        }
        Ok(())
    }

    async fn emit(&self, batch: &[Entry], deadline: Duration) -> Result<(), Status> {
        let request = EmitRequest {
            json: batch.iter().map(|entry| entry.json.clone()).collect(),
            ids: batch.iter().map(|entry| entry.id.clone()).collect(),
        };
        AuditServiceClient::new(self.channel.clone()).emit(within(deadline, request)).await.map(drop)
    }

    /// Work on the spool that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> T {
        let mut spool = self.spool.take().expect("the spool is back after every blocking task");
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut spool);
            (spool, result)
        });
        match done.await {
            Ok((spool, result)) => {
                self.spool = Some(spool);
                result
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn is_bad(status: &Status) -> bool {
    Problem::of(status).class == Class::Invalid
}

#[cfg(test)]
mod tests {
    use super::{Sender, Spool, WRITE_AGAIN};
    use crate::audit::losses::Losses;
    use crate::audit::spool::Entry;
    use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use transport::health::{ServiceHealth, Status};

    #[tokio::test(start_paused = true)]
    async fn events_that_wait_in_memory_are_written_without_further_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spool");
        let spool = Spool::open(&path).expect("opens");
        // Instead of a full disk: no file of this process may grow. Heard of, the signal does not end the process.
        let _heard = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).expect("listens");
        let unlimited = getrlimit(Resource::Fsize);
        let none = Rlimit { current: Some(0), maximum: unlimited.maximum };
        setrlimit(Resource::Fsize, none).expect("limited");
        let health = ServiceHealth::new("node");
        health.ready();
        let (queue, events) = mpsc::channel(8);
        let channel = transport::rpc::connect_admin(&directory.path().join("nobody"));
        let losses = Losses::default();
        let waiting = std::sync::Arc::default();
        let sender = Sender { events, spool: Some(spool), channel, health: health.clone(), losses, waiting };
        let _running =
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(sender.run(CancellationToken::new())));
        let entry = Entry { id: "1".to_owned(), json: "{}".to_owned() };
        queue.send(entry.clone()).await.expect("taken");
        // Work on the disk is done by threads that know nothing of this clock.
        while health.status() == Status::Ready {
            tokio::time::sleep(WRITE_AGAIN).await;
        }
        let Status::Degraded(reason) = health.status() else { panic!("degraded") };
        assert!(reason.contains("wait in memory"), "{reason}");
        setrlimit(Resource::Fsize, unlimited).expect("not limited");
        while health.status() != Status::Ready {
            tokio::time::sleep(WRITE_AGAIN).await;
        }
        assert_eq!(Spool::open(&path).expect("opens").next(9, 9), [entry]);
    }
}
