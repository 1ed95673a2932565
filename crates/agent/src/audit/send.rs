//! From the queue to the spool, and from the spool to auth.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::status::{Class, Problem};
use api::v1::EmitRequest;
use api::v1::audit_service_client::AuditServiceClient;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use transport::Backoff;
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
/// After being told to stop: for what is left.
const LAST_CALL: Duration = Duration::from_secs(3);

pub(super) struct Sender {
    pub(super) events: mpsc::Receiver<Entry>,
    /// Absent only while a blocking task has it.
    pub(super) spool: Option<Spool>,
    pub(super) channel: Channel,
    pub(super) losses: Losses,
    /// How many are in the queue and in the spool.
    pub(super) waiting: Arc<AtomicUsize>,
}

impl Sender {
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
        let mut again = Instant::now();
        loop {
            let idle = self.spool().is_empty();
            tokio::select! {
                () = shutdown.cancelled() => break,
                first = self.events.recv() => match first {
                    Some(first) => self.keep(Some(first)).await,
                    None => break,
                },
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
        if let Err(error) = kept {
            tracing::error!(%error, "audit events cannot be kept on disk; they wait in memory");
        }
        if lost > 0 {
            self.waiting.fetch_sub(lost, Ordering::Relaxed);
            self.losses.add(lost as u64, "the audit spool is full until auth can be reached");
        }
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
