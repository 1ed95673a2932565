//! Events as they come, for as long as the caller may see them.

use super::{Audit, may_read, message, place};
use crate::audit::EventTail;
use crate::caller::{Caller, Who};
use crate::catalog::{self, Catalog};
use api::status::{Class, Problem};
use api::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What may wait for a slow reader; the log itself waits at no cost.
const QUEUE: usize = 64;
/// How often it is asked again whether the caller may see events.
const RECHECK: Duration = Duration::from_secs(15);

impl Audit {
    /// Follows the log from after an event, or from now on for 0.
    pub async fn follow(
        &self,
        caller: Caller,
        after: u64,
    ) -> Result<ReceiverStream<Result<v1::Event, Status>>, Problem> {
        may_read(&self.catalog, &caller).await?;
        let after = (after > 0).then(|| place(after)).transpose()?;
        let tail = self.catalog.audit.tail(after).await.map_err(|error| catalog::problem(&error))?;
        let (out, stream) = mpsc::channel(QUEUE);
        let (catalog, stop) = (self.catalog.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = out.closed() => return,
                problem = pass_on(tail, &out) => problem,
                problem = until_refused(&catalog, &caller) => problem,
                problem = stopping(&stop) => problem,
            };
            // A reader that is not there any more, or does not read, misses nothing but the reason.
            let _ = out.try_send(Err(ended.into()));
        });
        Ok(ReceiverStream::new(stream))
    }
}

async fn pass_on(mut tail: EventTail, out: &mpsc::Sender<Result<v1::Event, Status>>) -> Problem {
    loop {
        let event = match tail.next().await {
            Ok(event) => message(event),
            Err(error) => return catalog::problem(&error),
        };
        if out.send(Ok(event)).await.is_err() {
            return Problem::new(Class::Unavailable, "reader_gone", "nobody reads the stream any more");
        }
    }
}

async fn until_refused(catalog: &Arc<Catalog>, caller: &Caller) -> Problem {
    loop {
        tokio::time::sleep(RECHECK).await;
        if let Who::User(user) = &caller.who
            && user.expires <= catalog.now()
        {
            let reason = "the certificate of the stream's reader has expired";
            return Problem::new(Class::Unauthenticated, "certificate_expired", reason).hint("sign in again");
        }
        match may_read(catalog, caller).await {
            Err(problem) if !problem.class.is_transient() => return problem,
            _ => {}
        }
    }
}

async fn stopping(stop: &CancellationToken) -> Problem {
    stop.cancelled().await;
    Problem::new(Class::Unavailable, "stopping", "the auth service is stopping").hint("connect again")
}
