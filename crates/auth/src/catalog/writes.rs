//! Whether the store takes writes, as the last one told: what `/readyz` and `tctl status` say of it. It must not write.

use std::sync::Arc;
use store::StoreError;
use tokio::sync::watch;

/// What became of the last write.
pub struct Writes(watch::Sender<Option<Arc<str>>>);

impl Default for Writes {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Writes {
    /// What is wrong since a write failed, until one succeeds.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Tells when that changes.
    pub fn changes(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.0.subscribe()
    }

    pub(super) fn succeeded(&self) {
        self.set(None);
    }

    /// A write failed. That one was refused for what it was, or that the service stops, says nothing of the store.
    pub fn failed(&self, error: &StoreError) {
        match error {
            StoreError::Full { .. }
            | StoreError::Io { .. }
            | StoreError::Damaged { .. }
            | StoreError::Internal { .. }
            | StoreError::Busy
            | StoreError::NoAnswer => self.set(Some(error.to_string().into())),
            StoreError::InvalidTxn(_) | StoreError::Compacted { .. } | StoreError::Closed => {}
        }
    }

    fn set(&self, trouble: Option<Arc<str>>) {
        self.0.send_if_modified(|current| {
            let changed = *current != trouble;
            *current = trouble;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Writes;
    use store::StoreError;

    #[test]
    fn trouble_lasts_until_a_write_succeeds() {
        let full = || StoreError::Full { path: "/x".into(), reason: "no space".to_owned() };
        let writes = Writes::default();
        let mut changes = writes.changes();
        assert_eq!(writes.trouble(), None);
        for error in [full(), StoreError::Closed, full()] {
            writes.failed(&error);
            assert!(writes.trouble().is_some_and(|trouble| trouble.contains("store /x cannot grow")));
        }
        assert!(changes.has_changed().expect("lives"));
        changes.mark_unchanged();
        writes.failed(&full());
        assert!(!changes.has_changed().expect("lives"), "the same again is no news");
        writes.succeeded();
        assert_eq!(writes.trouble(), None);
        writes.failed(&StoreError::Closed);
        assert_eq!(writes.trouble(), None, "a service that stops is not ill");
    }
}
