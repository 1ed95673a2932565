//! Watches over the services: runs them, passes reloads on, drains them, and ends when one of them does.

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{board::Board, signals::Request};
use crate::config::Stop;

/// How long services have after the drain, in which they tell clients that they are cut, end their processes and send
/// the last events to the audit log. Ended at the drain itself, they would get to none of it.
const LAST_MOMENT: Duration = Duration::from_secs(15);

/// Why a service ended; text for the log.
pub type ServiceError = Box<dyn std::error::Error + Send + Sync>;

/// A service that is about to run.
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its work. It ends by itself only when something is wrong, or after its [`CancellationToken`] was cancelled and its
    /// open sessions have ended.
    pub work: Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>,
}

/// Why the daemon ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A service ended by itself.
    #[error("service {service} ended: {reason}")]
    Service {
        /// Its name.
        service: &'static str,
        /// What it said.
        reason: String,
    },
}

/// What the watch is over, and what it does with requests.
pub struct Watch<R> {
    /// To tell `/readyz` that a stop was asked for.
    pub board: Arc<Board>,
    /// Cancelled when the services shall drain.
    pub drain: CancellationToken,
    /// How to stop.
    pub stop: Stop,
    /// Reads the configuration again.
    pub reload: R,
}

impl<R: FnMut()> Watch<R> {
    /// Runs the services until a stop is asked for or one of them ends, then lets the others drain. `next_request` is
    /// asked for the next request, again and again.
    ///
    /// # Errors
    /// When a service ended by itself.
    pub async fn run(
        mut self,
        services: Vec<Service>,
        mut next_request: impl AsyncFnMut() -> Request,
    ) -> Result<(), Ended> {
        let mut running = Running::start(services);
        let ended = loop {
            tokio::select! {
                ended = running.next() => break ended,
                request = next_request() => match request {
                    Request::Reload => (self.reload)(),
                    Request::Stop => break None,
                },
            }
        };
        self.board.stopping();
        let in_haste = match &ended {
            Some(Ended::Service { service, reason }) => {
                tracing::error!(service, reason, "service ended; stopping the others");
                false
            }
            None => {
                tracing::info!(delay = ?self.stop.delay, drain = ?self.stop.drain, "stopping; once more to stop now");
                asked_again(self.stop.delay, &mut next_request).await
            }
        };
        self.drain.cancel();
        if !in_haste {
            running.drain(self.stop.drain + LAST_MOMENT, &mut next_request).await;
        }
        ended.map_or(Ok(()), Err)
    }
}

/// Waits, and tells whether a stop was asked for again meanwhile.
async fn asked_again(delay: Duration, next_request: &mut impl AsyncFnMut() -> Request) -> bool {
    let again = async { while next_request().await != Request::Stop {} };
    timeout(delay, again).await.is_ok()
}

struct Running {
    tasks: JoinSet<(&'static str, Result<(), ServiceError>)>,
    names: BTreeSet<&'static str>,
}

impl Running {
    fn start(services: Vec<Service>) -> Self {
        let names = services.iter().map(|service| service.name).collect();
        let mut tasks = JoinSet::new();
        for Service { name, work } in services {
            // In a task of its own, so that a panic ends the service and not the watch over it.
            let work = tokio::spawn(work);
            let abort = AbortOnDrop(work.abort_handle());
            tasks.spawn(async move {
                let _abort = abort;
                let result = match work.await {
                    Ok(result) => result,
                    Err(_) => Err("it panicked; see the log above".into()),
                };
                (name, result)
            });
        }
        Self { tasks, names }
    }

    /// The first service that ends; `None` when there is none left.
    async fn next(&mut self) -> Option<Ended> {
        let (service, result) = self.tasks.join_next().await?.ok()?;
        self.names.remove(service);
        let reason = result.err().map_or_else(|| "without a reason".to_owned(), |error| error.to_string());
        Some(Ended::Service { service, reason })
    }

    async fn drain(mut self, limit: Duration, next_request: &mut impl AsyncFnMut() -> Request) {
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                let Ok((service, result)) = ended else { continue };
                self.names.remove(service);
                match result {
                    Ok(()) => tracing::info!(service, "service stopped"),
                    Err(error) => tracing::warn!(service, %error, "service stopped with an error"),
                }
            }
        };
        let now = async { while next_request().await != Request::Stop {} };
        tokio::select! {
            () = all_ended => return,
            () = now => tracing::warn!("asked to stop again; not waiting any longer"),
            () = tokio::time::sleep(limit) => {}
        }
        for service in &self.names {
            tracing::warn!(service, ?limit, "service did not end in time; what it holds is dropped");
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio_util::sync::CancellationToken;

    use super::{Request, Service, ServiceError, Watch};
    use crate::{config::Stop, run::board::Board};

    struct Outcome {
        ended: Result<(), super::Ended>,
        stopping: bool,
        reloads: usize,
        seconds: u64,
    }

    /// Runs services on a clock that stands still until everything waits; `requests` come at once.
    async fn run(requests: &[Request], make: impl FnOnce(&CancellationToken) -> Vec<Service>) -> Outcome {
        let begun = tokio::time::Instant::now();
        let (board, drain) = (Arc::new(Board::default()), CancellationToken::new());
        let services = make(&drain);
        let mut reloads = 0;
        let watch = Watch {
            board: Arc::clone(&board),
            drain: drain.clone(),
            stop: Stop { delay: Duration::from_secs(5), drain: Duration::from_secs(30) },
            reload: || reloads += 1,
        };
        let mut requests = requests.iter();
        let next_request = async || match requests.next() {
            Some(request) => *request,
            None => std::future::pending().await,
        };
        let ended = watch.run(services, next_request).await;
        assert!(drain.is_cancelled());
        Outcome { ended, stopping: board.readiness().stopping, reloads, seconds: begun.elapsed().as_secs() }
    }

    fn service(
        name: &'static str,
        work: impl Future<Output = Result<(), ServiceError>> + Send + 'static,
    ) -> Service {
        Service { name, work: Box::pin(work) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_out_the_delay_and_then_drains() {
        let outcome = run(&[Request::Reload, Request::Stop], |drain| {
            let drain = drain.clone();
            let node = async move {
                drain.cancelled().await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(())
            };
            vec![service("node", node)]
        });
        let outcome = outcome.await;
        outcome.ended.expect("ends well");
        assert_eq!((outcome.reloads, outcome.stopping, outcome.seconds), (1, true, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_has_waited_out_the_drain_gets_to_cut_its_sessions() {
        let (said, heard) = tokio::sync::oneshot::channel();
        let outcome = run(&[Request::Stop], |drain| {
            let drain = drain.clone();
            let node = async move {
                drain.cancelled().await;
                tokio::time::sleep(Duration::from_secs(30 + 10)).await;
                let _ = said.send("cut");
                Ok(())
            };
            vec![service("node", node)]
        });
        outcome.await.ended.expect("ends well");
        assert_eq!(heard.await, Ok("cut"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_end_is_cut_at_the_deadline_or_by_a_second_stop() {
        for (requests, seconds) in [([Request::Stop].as_slice(), 50), (&[Request::Stop, Request::Stop], 0)] {
            let outcome = run(requests, |_| vec![service("node", std::future::pending())]).await;
            outcome.ended.expect("ends well");
            assert_eq!(outcome.seconds, seconds, "{requests:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_one_service_ends_all() {
        for (work, says) in [
            (service("auth", async { Err("disk is full".into()) }), "service auth ended: disk is full"),
            (service("auth", async { Ok(()) }), "service auth ended: without a reason"),
            (service("auth", async { panic!("boom") }), "service auth ended: it panicked; see the log above"),
        ] {
            let outcome = run(&[], |drain| {
                let drain = drain.clone();
                let node = async move {
                    drain.cancelled().await;
                    Ok(())
                };
                vec![work, service("node", node)]
            });
            assert_eq!(outcome.await.ended.expect_err("ended by itself").to_string(), says);
        }
    }
}
