//! How many places of a listener each member holds, and which of its connections goes when it holds too many: the one that
//! has been idle for longest. So one identity, however often it is copied, neither fills the service nor keeps itself out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use identity::Member;
use tokio_util::sync::CancellationToken;

/// What a connection is being used for.
#[derive(Debug, Default)]
pub(super) struct Use {
    calls: AtomicUsize,
    /// Of two that are idle, the one with the smaller number has been so for longer.
    idle_since: AtomicU64,
    /// Another one got its place.
    pub(super) over: CancellationToken,
}

/// Counts the moments at which connections fell idle.
static MOMENTS: AtomicU64 = AtomicU64::new(1);

impl Use {
    fn fell_idle(&self) {
        self.idle_since.store(MOMENTS.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The calls of one connection; clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Calls(pub(super) Arc<Use>);

/// A call that is being answered, until this is dropped.
#[derive(Debug)]
pub struct Call(Arc<Use>);

impl Calls {
    /// One more.
    #[must_use]
    pub fn begin(&self) -> Call {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(&self.0))
    }

    /// Since which moment there are none, as a number that is another one each time; 0 when there never were any. Absent while
    /// some are under way.
    #[must_use]
    pub fn idle_since(&self) -> Option<u64> {
        let idle = self.0.calls.load(Ordering::Relaxed) == 0;
        idle.then(|| self.0.idle_since.load(Ordering::Relaxed))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fell_idle();
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of members.
#[derive(Debug, Default)]
pub(super) struct Members {
    held: usize,
    /// By the order of their arrival.
    by_member: HashMap<Member, BTreeMap<u64, Arc<Use>>>,
}

/// How many they may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) all: usize,
    pub(super) of_one: usize,
}

/// A member that lost a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crowded {
    pub(super) member: Member,
    /// How many it had.
    pub(super) held: usize,
}

/// There is no place: all are taken, and nobody has more than one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Members {
    /// Takes in a connection, and drops another where there are too many.
    pub(super) fn enter(
        &mut self,
        member: &Member,
        arrival: u64,
        usage: &Arc<Use>,
        most: Most,
    ) -> Result<Option<Crowded>, Full> {
        let crowded = match self.loser(member, most)? {
            Some(loser) => self.drop_one(loser),
            None => None,
        };
        usage.fell_idle();
        self.by_member.entry(member.clone()).or_default().insert(arrival, Arc::clone(usage));
        self.held += 1;
        Ok(crowded)
    }

    /// Whether it was there.
    pub(super) fn leave(&mut self, member: &Member, arrival: u64) -> bool {
        let Some(held) = self.by_member.get_mut(member) else { return false };
        let was_there = held.remove(&arrival).is_some();
        if held.is_empty() {
            self.by_member.remove(member);
        }
        self.held -= usize::from(was_there);
        was_there
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Who loses a place for another one of `member`.
    fn loser(&self, member: &Member, most: Most) -> Result<Option<Member>, Full> {
        let own = self.count(member);
        if own >= most.of_one {
            return Ok(Some(member.clone()));
        }
        if self.held < most.all {
            return Ok(None);
        }
        let fullest = self.by_member.iter().max_by_key(|(_, held)| held.len());
        match fullest {
            Some((_, held)) if own > 0 && own >= held.len() => Ok(Some(member.clone())),
            Some((fullest, held)) if held.len() > 1 => Ok(Some(fullest.clone())),
            _ => Err(Full),
        }
    }

    fn count(&self, member: &Member) -> usize {
        self.by_member.get(member).map_or(0, BTreeMap::len)
    }

    /// The one that has been idle for longest, or the oldest where none is idle.
    fn drop_one(&mut self, member: Member) -> Option<Crowded> {
        let held = self.by_member.get(&member)?;
        let idle = held.iter().filter(|(_, usage)| usage.calls.load(Ordering::Relaxed) == 0);
        let idle = idle.min_by_key(|(_, usage)| usage.idle_since.load(Ordering::Relaxed));
        let (arrival, usage) = idle.or_else(|| held.first_key_value())?;
        usage.over.cancel();
        let (arrival, held) = (*arrival, held.len());
        self.leave(&member, arrival);
        Some(Crowded { member, held })
    }
}

#[cfg(test)]
mod tests {
    use super::{Calls, Crowded, Full, Members, Most, Use};
    use identity::Member;
    use std::sync::Arc;

    const MOST: Most = Most { all: 6, of_one: 3 };

    fn member(name: &str) -> Member {
        Member::User(name.parse().expect("a name"))
    }

    #[derive(Default)]
    struct Test {
        members: Members,
        all: Vec<(Member, Arc<Use>)>,
    }

    impl Test {
        fn enter(&mut self, name: &str) -> Result<Option<Crowded>, Full> {
            let (usage, arrival) = (Arc::new(Use::default()), u64::try_from(self.all.len()).expect("few"));
            let entered = self.members.enter(&member(name), arrival, &usage, MOST);
            self.all.push((member(name), usage));
            entered
        }

        fn over(&self) -> Vec<usize> {
            (0..self.all.len()).filter(|at| self.all[*at].1.over.is_cancelled()).collect()
        }
    }

    fn crowded(name: &str, held: usize) -> Result<Option<Crowded>, Full> {
        Ok(Some(Crowded { member: member(name), held }))
    }

    #[test]
    fn a_member_above_its_share_loses_what_was_idle_for_longest() {
        let mut test = Test::default();
        for _ in 0..3 {
            assert_eq!(test.enter("eve"), Ok(None));
        }
        test.enter("bob").expect("has a place");
        // The first is in use, the second was a moment ago.
        let _call = Calls(test.all[0].1.clone()).begin();
        drop(Calls(test.all[1].1.clone()).begin());
        assert_eq!(test.enter("eve"), crowded("eve", 3));
        assert_eq!(test.over(), [2]);
        // Where none is idle, the oldest goes.
        let _calls: Vec<_> = [1, 4].map(|at: usize| Calls(test.all[at].1.clone()).begin()).into();
        assert_eq!(test.enter("eve"), crowded("eve", 3));
        assert_eq!(test.over(), [0, 2]);
    }

    #[test]
    fn where_all_places_are_taken_who_has_most_makes_room() {
        let mut test = Test::default();
        for name in ["eve", "eve", "eve", "bob", "bob", "ann"] {
            assert_eq!(test.enter(name), Ok(None));
        }
        assert_eq!(test.enter("cid"), crowded("eve", 3));
        assert!(matches!(test.enter("bob"), Ok(Some(Crowded { held: 2, .. }))), "by nobody who has less");
        for name in ["dan", "fay", "gus"] {
            let _ = test.enter(name);
        }
        assert_eq!(test.members.held(), MOST.all);
        assert!(test.members.by_member.values().all(|held| held.len() == 1));
        assert_eq!(test.enter("hal"), Err(Full));
        assert_eq!(test.enter("ann"), crowded("ann", 1));
        for at in 0..test.all.len() {
            test.members.leave(&test.all[at].0.clone(), u64::try_from(at).expect("few"));
        }
        assert_eq!((test.members.held(), test.members.by_member.len()), (0, 0));
    }
}
