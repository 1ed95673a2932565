//! The time until all services have started, which may be long: a host waits for auth to join its cluster. It hears what is
//! asked of it meanwhile as later.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{board::Board, signals::Request};

/// How long what is starting has to end by itself, when a stop is asked for.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A daemon whose services are starting.
pub struct Starting<'s> {
    /// To tell `/readyz` that a stop was asked for.
    pub board: &'s Board,
    /// Cancelled when the services shall start no further.
    pub drain: &'s CancellationToken,
}

impl Starting<'_> {
    /// What `assembling` comes to; nothing when a stop is asked for before. Nobody is served yet, so there is nothing to
    /// drain.
    ///
    /// # Errors
    /// Those of `assembling`.
    pub async fn until<T, E>(
        &self,
        assembling: impl Future<Output = Result<T, E>>,
        mut next_request: impl AsyncFnMut() -> Request,
    ) -> Result<Option<T>, E> {
        tokio::pin!(assembling);
        loop {
            let request = tokio::select! {
                assembled = &mut assembling => return assembled.map(Some),
                request = next_request() => request,
            };
            match request {
                Request::Stop => break,
                Request::Reload => {
                    tracing::warn!(
                        "the configuration is not read again while services are starting; ask again then"
                    );
                }
            }
        }
        self.board.stopping();
        self.drain.cancel();
        // Services that have started are told by their token, and those that are starting as well.
        let _ = tokio::time::timeout(LAST_MOMENT, assembling).await;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio_util::sync::CancellationToken;

    use super::Starting;
    use crate::run::{board::Board, signals::Request};

    async fn until(
        requests: &[Request],
        assembling: impl Future<Output = Result<u8, &'static str>>,
    ) -> (Result<Option<u8>, &'static str>, bool) {
        let (board, drain) = (Board::default(), CancellationToken::new());
        let mut requests = requests.iter();
        let next = async || match requests.next() {
            Some(request) => *request,
            None => pending().await,
        };
        let outcome = Starting { board: &board, drain: &drain }.until(assembling, next).await;
        assert_eq!(board.readiness().stopping, drain.is_cancelled());
        (outcome, drain.is_cancelled())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_heard_while_services_wait_and_a_reload_changes_nothing() {
        let begun = tokio::time::Instant::now();
        assert_eq!(until(&[Request::Reload, Request::Stop], pending()).await, (Ok(None), true));
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
        assert_eq!(until(&[Request::Reload], async { Ok(7) }).await, (Ok(Some(7)), false));
        assert_eq!(until(&[], async { Err("no") }).await, (Err("no"), false));
    }
}
