//! Places for what is being started. One account has a share of them: whatever it makes its sessions wait for, others start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use access::Login;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

pub(super) struct Places {
    all: Semaphore,
    share: usize,
    by_login: Mutex<HashMap<Login, Arc<Semaphore>>>,
}

/// One of them; given back when it is dropped.
pub(super) struct Place<'p> {
    _all: SemaphorePermit<'p>,
    _login: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: usize, share: usize) -> Self {
        Self { all: Semaphore::new(all), share, by_login: Mutex::default() }
    }

    /// Waits for one. Who waits for a place of its account's takes none that others could have.
    pub(super) async fn take(&self, login: &Login) -> Option<Place<'_>> {
        let login = self.of(login).acquire_owned().await.ok()?;
        Some(Place { _all: self.all.acquire().await.ok()?, _login: login })
    }

    fn of(&self, login: &Login) -> Arc<Semaphore> {
        let mut all = self.by_login.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody has or waits for.
        all.retain(|_, places| Arc::strong_count(places) > 1);
        Arc::clone(all.entry(login.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Login, Places};

    #[tokio::test]
    async fn one_account_waits_and_another_does_not() {
        let (places, soon) = (Places::new(3, 2), Duration::from_millis(50));
        let [alice, bob] = ["alice", "bob"].map(|name| Login::new(name).expect("a login"));
        let held = (places.take(&alice).await, places.take(&alice).await);
        assert!(tokio::time::timeout(soon, places.take(&alice)).await.is_err(), "it has its share");
        let other = tokio::time::timeout(soon, places.take(&bob)).await.expect("at once");
        drop(held);
        assert!(places.take(&alice).await.is_some());
        drop(other);
        assert_eq!(places.by_login.lock().expect("a lock").len(), 2);
        drop(places.of(&alice));
        assert_eq!(places.by_login.lock().expect("a lock").len(), 1, "nobody has any");
    }
}
