//! The order of a client's wishes. sshd takes one after the other, so whoever asks for a listener and then for a channel
//! may rely on the listener; here they are served side by side.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than this nothing waits for what the client asked for before.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the client has asked for and others may rely on, as long as it is being made.
#[derive(Debug, Default)]
pub(super) struct Earlier(Vec<CancellationToken>);

impl Earlier {
    /// One more, until what is returned is dropped.
    pub(super) fn one_more(&mut self) -> DropGuard {
        self.0.retain(|made| !made.is_cancelled());
        let making = CancellationToken::new();
        self.0.push(making.clone());
        making.drop_guard()
    }

    /// Returns when all that was asked for until now is made, or has failed.
    pub(super) fn made(&self) -> impl Future<Output = ()> + Send + use<> {
        let making: Vec<_> = self.0.iter().filter(|made| !made.is_cancelled()).cloned().collect();
        async move {
            let all = async {
                for made in making {
                    made.cancelled().await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, all).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Earlier;

    #[tokio::test]
    async fn what_comes_later_waits_and_what_came_before_does_not() {
        let mut earlier = Earlier::default();
        let before = earlier.made();
        let (first, second) = (earlier.one_more(), earlier.one_more());
        let after = earlier.made();
        tokio::pin!(before, after);
        assert!(before.now_or_never().is_some());
        assert!(after.as_mut().now_or_never().is_none());
        drop(second);
        assert!(after.as_mut().now_or_never().is_none());
        drop(first);
        after.await;
        assert!(earlier.made().now_or_never().is_some());
    }
}
