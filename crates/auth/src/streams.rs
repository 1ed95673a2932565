//! How many lasting calls each member has at once. Each is a task and a queue for as long as its connection lives, so they are
//! counted by who holds them, over all his connections.

use crate::pacing::Spender;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The lasting calls of one kind; clones share the count.
#[derive(Debug, Clone)]
pub struct Streams {
    most: usize,
    held: Arc<Mutex<HashMap<Spender, usize>>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct Lasting(Option<(Streams, Spender)>);

impl Streams {
    /// So many for each.
    pub fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    /// One more, where the caller has not as many as he may have. Whoever is not counted has no bound here.
    pub fn begin(&self, who: Option<Spender>) -> Option<Lasting> {
        let Some(who) = who else { return Some(Lasting(None)) };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(&who).copied().unwrap_or_default();
        if own >= self.most {
            return None;
        }
        held.insert(who.clone(), own + 1);
        Some(Lasting(Some((self.clone(), who))))
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let Some((streams, who)) = self.0.take() else { return };
        let mut held = streams.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.get_mut(&who) {
            *own -= 1;
            if *own == 0 {
                held.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Streams;
    use crate::pacing::Spender;

    #[test]
    fn each_has_so_many_and_gives_them_back() {
        let streams = Streams::new(3);
        let begin = |uid| streams.begin(Some(Spender::LocalAdmin(uid)));
        let held: Vec<_> = (0..9).filter_map(|_| begin(1)).collect();
        assert_eq!(held.len(), 3);
        assert!(begin(2).is_some());
        drop(held);
        assert!(begin(1).is_some());
        assert!(streams.held.lock().expect("not poisoned").is_empty());
    }
}
