//! So many of one kind, of which one login has a share: nobody uses up what is there for all.

use std::collections::HashMap;
use std::rc::Rc;

/// Names that nobody uses any more are thrown out above this.
const MAX_NAMES: usize = 1024;

pub(super) struct Places {
    most: usize,
    share: usize,
    all: Rc<()>,
    by_login: HashMap<String, Rc<()>>,
}

/// One of them; given back when it is dropped.
pub(super) struct Place {
    _all: Rc<()>,
    _login: Rc<()>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Nobody gets one.
    All,
    /// This login has its share.
    Login,
}

impl Places {
    pub(super) fn new(most: usize, share: usize) -> Self {
        Self { most, share, all: Rc::new(()), by_login: HashMap::new() }
    }

    pub(super) fn take(&mut self, login: &str) -> Result<Place, Full> {
        if self.taken() >= self.most {
            return Err(Full::All);
        }
        if self.by_login.len() > MAX_NAMES {
            self.by_login.retain(|_, places| count(places) > 0);
        }
        let places = self.by_login.entry(login.to_owned()).or_default();
        if count(places) >= self.share {
            return Err(Full::Login);
        }
        Ok(Place { _all: Rc::clone(&self.all), _login: Rc::clone(places) })
    }

    pub(super) fn taken(&self) -> usize {
        count(&self.all)
    }
}

/// Beside the one that counts.
fn count(places: &Rc<()>) -> usize {
    Rc::strong_count(places) - 1
}

#[cfg(test)]
mod tests {
    use super::{Full, Places};

    #[test]
    fn one_login_leaves_places_for_others_and_gets_its_own_back() {
        let mut places = Places::new(4, 2);
        let held: Vec<_> = ["alice", "alice"].map(|login| places.take(login).ok()).into();
        assert_eq!(places.take("alice").err(), Some(Full::Login));
        let _others = ["bob", "carol"].map(|login| places.take(login).ok());
        assert_eq!((places.take("dave").err(), places.taken()), (Some(Full::All), 4));
        drop(held);
        assert!(places.take("alice").is_ok());
    }
}
