//! Who holds the places of a listener, and who goes when strangers hold too many of them.
//!
//! Whoever comes gets a place, and somebody who has not proved who he is loses his: one of the source that holds most.
//! So a source that opens thousands of connections drops its own, and neither keeps out a login from elsewhere nor one
//! from its own address. Who has proved it never loses his place to a stranger; where it is counted whose connection it is, he
//! loses it to others that have proved it, when he holds more than they (see [`super::members`]). Knows counts and addresses, nothing of
//! sockets.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::Member;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Complaint;
use super::members::{Calls, Crowded, Members, Most, Use};

/// How many connections a listener holds.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// At once, from everywhere.
    pub connections: usize,
    /// At once from everywhere, of peers that have not proved who they are: well below `connections`, so that they
    /// cannot keep out those who can prove it. As many again may be on their way out.
    pub strangers: usize,
    /// At once from one address (IPv6: one /64), of peers that have not proved who they are. A proxy passes a whole fleet on from one.
    pub strangers_per_address: usize,
    /// At once of one member, where it is counted whose they are (see [`Place::belongs_to`]).
    pub of_one_member: usize,
}

impl Default for Caps {
    /// As many as there may be, and never all that the process has open files for: it has other things to open.
    fn default() -> Self {
        Self::within(getrlimit(Resource::Nofile).current)
    }
}

impl Caps {
    fn within(open_files: Option<u64>) -> Self {
        let open_files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let connections = (open_files / 4 * 3).saturating_sub(512).clamp(64, 20_000);
        let strangers = (connections / 4).min(4_096);
        Self { connections, strangers, strangers_per_address: strangers, of_one_member: 64 }
    }

    /// What strangers cannot take.
    fn of_members(self) -> Most {
        Most {
            all: self.connections.saturating_sub(self.strangers).max(1),
            of_one: self.of_one_member.max(1),
        }
    }
}

/// So long after somebody has proved who he is, the next is expected to.
const SOON: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Places {
    caps: Caps,
    held: Mutex<Held>,
    proved: Notify,
    turned_away: AtomicU64,
    dropped: AtomicU64,
    crowded: Mutex<Complaint>,
}

#[derive(Debug, Default)]
struct Held {
    taken: usize,
    strangers: usize,
    /// By the order of their arrival.
    by_source: HashMap<IpAddr, BTreeMap<u64, Arc<Fate>>>,
    members: Members,
    arrivals: u64,
    /// Have lost their places and are not gone yet.
    leaving: usize,
    /// When somebody last proved who he is.
    proved: Option<Instant>,
}

/// A source that lost a place to a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) source: IpAddr,
    /// How many strangers it had.
    pub(super) held: usize,
}

/// A connection's place within the caps; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    stranger: Option<Stranger>,
    member: Option<(Member, u64)>,
    usage: Arc<Use>,
}

#[derive(Debug)]
struct Stranger {
    source: IpAddr,
    arrival: u64,
    fate: Arc<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
    lost: CancellationToken,
    /// Who proves who he is in the moment in which he loses his place, stays.
    known: AtomicBool,
}

impl Places {
    pub(super) fn new(caps: Caps) -> Arc<Self> {
        let (turned_away, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        let (held, proved, crowded) = (Mutex::default(), Notify::new(), Mutex::default());
        Arc::new(Self { caps, held, proved, turned_away, dropped, crowded })
    }

    /// Returns when the next newcomer may come in. That is at once, unless half of the places of strangers are taken, by peers
    /// who prove one after the other who they are: then one comes for each that has, so that none of a crowd
    /// loses his place to those behind him. Where nobody proves anything, nobody waits for it.
    pub(super) async fn turn(&self) {
        let proved = self.proved.notified();
        if self.held().is_moving_crowd(self.caps) {
            let _ = tokio::time::timeout(SOON, proved).await;
        }
    }

    pub(super) fn taken(&self) -> usize {
        self.held().taken
    }

    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A place for somebody from this address, and who lost his for it. None while everybody here has proved who he is,
    /// or while too many are on their way out.
    pub(super) fn take(self: &Arc<Self>, ip: IpAddr) -> Option<(Place, Option<Dropped>)> {
        let source = source_of(ip);
        let mut held = self.held();
        let Ok(dropped) = held.room_for(source, self.caps) else {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.dropped.fetch_add(u64::from(dropped.is_some()), Ordering::Relaxed);
        held.taken += 1;
        held.arrivals += 1;
        let stranger = Stranger { source, arrival: held.arrivals, fate: Arc::default() };
        held.enter(&stranger);
        drop(held);
        let (places, usage) = (Arc::clone(self), Arc::default());
        Some((Place { places, stranger: Some(stranger), member: None, usage }, dropped))
    }

    fn complain(&self, Crowded { member, held }: &Crowded) {
        let due =
            self.crowded.lock().unwrap_or_else(PoisonError::into_inner).one_more(std::time::Instant::now());
        if let Some(dropped) = due {
            tracing::warn!(%member, held, dropped, "a member holds too many connections; its idle ones are dropped");
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The peer has proved who it is: it no longer counts as a stranger, and nobody gets its place.
    pub fn known(&mut self) {
        let Some(stranger) = self.stranger.take() else { return };
        stranger.fate.known.store(true, Ordering::Release);
        let mut held = self.places.held();
        held.leave(&stranger);
        held.proved = Some(Instant::now());
        drop(held);
        self.places.proved.notify_waiters();
    }

    /// The peer has proved that it is this member: it no longer counts as a stranger. Where its member holds too many places, or
    /// members hold all of them, another connection goes. `false` when there is no place for it.
    #[must_use]
    pub fn belongs_to(&mut self, member: &Member) -> bool {
        let Some(stranger) = self.stranger.take() else { return true };
        stranger.fate.known.store(true, Ordering::Release);
        let (arrival, most) = (stranger.arrival, self.places.caps.of_members());
        let mut held = self.places.held();
        held.leave(&stranger);
        held.proved = Some(Instant::now());
        let entered = held.members.enter(member, arrival, &self.usage, most);
        if let Ok(crowded) = &entered {
            held.leaving += usize::from(crowded.is_some());
            self.member = Some((member.clone(), arrival));
        }
        drop(held);
        self.places.proved.notify_waiters();
        match entered {
            Ok(Some(crowded)) => self.places.complain(&crowded),
            Ok(None) => {}
            Err(_) => {
                self.places.turned_away.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// The calls on this connection, by which it is seen whether it is idle.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls(Arc::clone(&self.usage))
    }

    /// A load balancer in front has said where the peer comes from.
    pub fn comes_from(&mut self, ip: IpAddr) {
        let (source, caps) = (source_of(ip), self.places.caps);
        let Some(stranger) = self.stranger.as_mut().filter(|stranger| stranger.source != source) else {
            return;
        };
        let mut held = self.places.held();
        if !held.remove(stranger) {
            return;
        }
        if held.count(source) >= caps.strangers_per_address && held.drop_one(Some(source)).is_some() {
            self.places.dropped.fetch_add(1, Ordering::Relaxed);
        }
        stranger.source = source;
        held.enter(stranger);
    }

    /// Returns when somebody else got this place, so that the connection must end; never once [`Self::known`] was called.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let fate = self.stranger.as_ref().map(|stranger| Arc::clone(&stranger.fate));
        let usage = Arc::clone(&self.usage);
        async move {
            let as_stranger = async {
                if let Some(fate) = fate {
                    fate.lost.cancelled().await;
                    if !fate.known.load(Ordering::Acquire) {
                        return;
                    }
                }
                std::future::pending().await
            };
            tokio::select! {
                () = as_stranger => {}
                () = usage.over.cancelled() => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        if let Some(stranger) = self.stranger.take() {
            held.leave(&stranger);
        }
        if let Some((member, arrival)) = self.member.take()
            && !held.members.leave(&member, arrival)
        {
            held.leaving -= 1;
        }
        held.taken -= 1;
    }
}

impl Held {
    fn is_moving_crowd(&self, caps: Caps) -> bool {
        let (half, half_of_one) = (caps.strangers / 2, caps.strangers_per_address / 2);
        let is_moving = self.proved.is_some_and(|proved| proved.elapsed() < SOON);
        let one_has_half = || self.by_source.values().any(|held| held.len() >= half_of_one);
        is_moving && (self.strangers >= half || self.strangers >= half_of_one && one_has_half())
    }

    /// Makes room, where there is none, by dropping somebody.
    fn room_for(&mut self, source: IpAddr, caps: Caps) -> Result<Option<Dropped>, ()> {
        if self.leaving >= caps.strangers.max(1) {
            return Err(());
        }
        let full = self.strangers >= caps.strangers || self.taken - self.leaving >= caps.connections;
        let from = match (self.count(source) >= caps.strangers_per_address, full) {
            (true, _) => Some(source),
            (false, true) => None,
            (false, false) => return Ok(None),
        };
        self.drop_one(from).map(Some).ok_or(())
    }

    /// Drops one of the older half of a source's strangers, or of those of the sources that have most.
    ///
    /// By chance, because whoever knew would know how many newcomers it takes to be rid of somebody; and not of the
    /// younger half, because most logins are over before as many have come.
    fn drop_one(&mut self, from: Option<IpAddr>) -> Option<Dropped> {
        let most = self.by_source.values().map(BTreeMap::len).max()?;
        let fits = |source: &IpAddr, held: usize| from.map_or(held == most, |from| *source == from);
        let fitting = self.by_source.iter().filter(|(source, held)| fits(source, held.len()));
        let mut strangers: Vec<(u64, IpAddr)> =
            fitting.flat_map(|(source, held)| held.keys().map(|arrival| (*arrival, *source))).collect();
        let older = strangers.len().div_ceil(2);
        let chosen = draw(u64::try_from(older).ok().filter(|older| *older > 0)?);
        let (_, &mut (arrival, source), _) =
            strangers.select_nth_unstable(usize::try_from(chosen).ok()?.min(older - 1));
        let held = self.count(source);
        let fate = self.forget(source, arrival)?;
        self.leaving += 1;
        fate.lost.cancel();
        Some(Dropped { source, held })
    }

    fn enter(&mut self, stranger: &Stranger) {
        let Stranger { source, arrival, fate } = stranger;
        self.by_source.entry(*source).or_default().insert(*arrival, Arc::clone(fate));
        self.strangers += 1;
    }

    /// Who was dropped has stopped to count already, and is gone now.
    fn leave(&mut self, stranger: &Stranger) {
        if !self.remove(stranger) {
            self.leaving -= 1;
        }
    }

    fn remove(&mut self, stranger: &Stranger) -> bool {
        self.forget(stranger.source, stranger.arrival).is_some()
    }

    fn forget(&mut self, source: IpAddr, arrival: u64) -> Option<Arc<Fate>> {
        let held = self.by_source.get_mut(&source)?;
        let fate = held.remove(&arrival)?;
        if held.is_empty() {
            self.by_source.remove(&source);
        }
        self.strangers -= 1;
        Some(fate)
    }

    fn count(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).map_or(0, BTreeMap::len)
    }
}

/// A number below this one; zero when the system gives no randomness, which only makes it known who goes.
fn draw(below: u64) -> u64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u64::from_be_bytes(bytes) % below,
        Err(_) => 0,
    }
}

/// One subscriber of an IPv6 provider holds at least a /64.
fn source_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Caps, Dropped, Member, Place, Places};
    use futures_util::FutureExt;
    use std::net::IpAddr;
    use std::sync::Arc;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn lost(place: &Place) -> bool {
        place.stranger.as_ref().is_some_and(|stranger| stranger.fate.lost.is_cancelled())
    }

    fn take(places: &Arc<Places>, from: &str) -> Place {
        places.take(ip(from)).expect("a place").0
    }

    fn assert_empty(places: &Places) {
        let held = places.held();
        assert_eq!((held.taken, held.strangers, held.leaving, held.by_source.len()), (0, 0, 0, 0));
        assert_eq!(held.members.held(), 0);
    }

    #[test]
    fn a_source_above_its_cap_loses_one_of_its_older_half() {
        let places =
            Places::new(Caps { connections: 9, strangers: 9, strangers_per_address: 4, of_one_member: 9 });
        let elsewhere = take(&places, "10.0.0.2");
        let four: Vec<Place> = (0..4).map(|_| take(&places, "10.0.0.1")).collect();
        let (fifth, dropped) = places.take(ip("10.0.0.1")).expect("a place");
        assert_eq!(dropped, Some(Dropped { source: ip("10.0.0.1"), held: 4 }));
        let gone: Vec<bool> = four.iter().map(lost).collect();
        assert!(gone == [true, false, false, false] || gone == [false, true, false, false], "{gone:?}");
        assert!(!lost(&fifth) && !lost(&elsewhere));
        assert_eq!((places.dropped(), places.turned_away()), (1, 0));
        drop((elsewhere, four, fifth));
        assert_empty(&places);
    }

    #[test]
    fn where_all_places_of_strangers_are_taken_the_busiest_source_loses_one() {
        let places =
            Places::new(Caps { connections: 99, strangers: 6, strangers_per_address: 5, of_one_member: 9 });
        let busy: Vec<Place> = (0..4).map(|_| take(&places, "10.0.0.1")).collect();
        let two: Vec<Place> = (0..2).map(|_| take(&places, "10.0.0.2")).collect();
        let mut new: Vec<Place> = Vec::new();
        for (from, busiest) in [(3, 4), (4, 3)] {
            let (place, dropped) = places.take(IpAddr::from([10, 0, 0, from])).expect("a place");
            assert_eq!(dropped, Some(Dropped { source: ip("10.0.0.1"), held: busiest }));
            new.push(place);
        }
        assert_eq!(busy.iter().filter(|place| lost(place)).count(), 2);
        assert!(!two.iter().chain(&new).any(lost));
        // Two sources have two each now: the oldest of all of them are the candidates.
        let (sixth, dropped) = places.take(ip("10.0.0.5")).expect("a place");
        assert!(dropped.is_some_and(|dropped| dropped.held == 2), "{dropped:?}");
        assert!(!new.iter().any(lost));
        drop((busy, two, new, sixth));
        assert_empty(&places);
    }

    /// Of a crowd that proves who it is, one comes in for each that has; silent ones hold nobody up.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_moves_comes_in_one_by_one() {
        let caps = Caps { connections: 99, strangers: 8, strangers_per_address: 8, of_one_member: 9 };
        let places = Places::new(caps);
        let mut crowd: Vec<Place> = (0..6).map(|_| take(&places, "10.0.0.1")).collect();
        assert!(places.turn().now_or_never().is_some(), "they may all be silent");
        crowd[0].known();
        let mut turn = std::pin::pin!(places.turn());
        assert!(turn.as_mut().now_or_never().is_none(), "the next will prove it soon");
        crowd[1].known();
        assert!(turn.as_mut().now_or_never().is_some());
        let start = tokio::time::Instant::now();
        places.turn().await;
        assert_eq!(start.elapsed(), super::SOON, "nobody did");
        assert!(places.turn().now_or_never().is_some());
        crowd[2].known();
        assert!(places.turn().now_or_never().is_some(), "there is room enough");
        drop(crowd);
        assert_empty(&places);
    }

    #[test]
    fn who_is_known_loses_nothing_and_is_not_counted() {
        let places =
            Places::new(Caps { connections: 3, strangers: 2, strangers_per_address: 1, of_one_member: 9 });
        let mut known = take(&places, "10.0.0.1");
        known.known();
        let one = take(&places, "10.0.0.1");
        let two = take(&places, "10.0.0.1");
        assert!(lost(&one) && !lost(&two));
        // Three are here, of whom one is on its way out; then all that are left are known.
        let mut three = take(&places, "10.0.0.2");
        let mut four = take(&places, "10.0.0.3");
        assert!(lost(&two));
        drop((one, two));
        three.known();
        four.known();
        assert!(places.take(ip("10.0.0.4")).is_none());
        assert_eq!(places.turned_away(), 1);
        drop((known, three, four));
        assert_empty(&places);
    }

    #[tokio::test]
    async fn a_login_that_ends_as_its_place_is_lost_stands() {
        let places =
            Places::new(Caps { connections: 9, strangers: 9, strangers_per_address: 1, of_one_member: 9 });
        let mut first = take(&places, "10.0.0.1");
        let second = take(&places, "10.0.0.1");
        assert!(lost(&first));
        let end = first.lost();
        first.known();
        assert_eq!(end.now_or_never(), None);
        assert_eq!(places.taken(), 2);
        drop((first, second));
        assert_empty(&places);
    }

    #[tokio::test]
    async fn a_member_holds_its_share_and_loses_its_own() {
        let member = |name: &str| Member::User(name.parse().expect("a name"));
        let caps = Caps { connections: 12, strangers: 4, strangers_per_address: 4, of_one_member: 3 };
        let places = Places::new(caps);
        let enter = |name: &str| {
            let mut place = take(&places, "10.0.0.1");
            let end = place.lost();
            assert!(place.belongs_to(&member(name)));
            (place, end)
        };
        let (bob, end_of_bob) = enter("bob");
        let mut eve = std::collections::VecDeque::new();
        for _ in 0..100 {
            eve.push_back(enter("eve"));
            if eve.len() > 3 {
                let (_oldest, end) = eve.pop_front().expect("one");
                assert_eq!(end.now_or_never(), Some(()));
            }
        }
        assert!(eve.into_iter().all(|(_place, end)| end.now_or_never().is_none()));
        assert_eq!(end_of_bob.now_or_never(), None);
        // Strangers take nothing from them.
        let strangers: Vec<Place> = (0..8).map(|_| take(&places, "10.0.0.9")).collect();
        let held = places.held();
        assert_eq!((held.members.held(), held.strangers), (1, 4));
        drop(held);
        assert!(places.take(ip("10.0.0.9")).is_none(), "too many are on their way out");
        drop((bob, strangers));
        assert_empty(&places);
    }

    #[test]
    fn open_files_bound_the_places() {
        for (open_files, connections) in [
            (Some(1_024), 256),
            (Some(20_000), 14_488),
            (Some(524_288), 20_000),
            (None, 20_000),
            (Some(0), 64),
        ] {
            let caps = Caps::within(open_files);
            assert_eq!(caps.connections, connections, "{open_files:?}");
            assert!(caps.strangers <= connections / 4 && caps.strangers_per_address <= caps.strangers);
        }
    }

    #[test]
    fn nobody_new_comes_while_too_many_are_on_their_way_out() {
        let places =
            Places::new(Caps { connections: 9, strangers: 2, strangers_per_address: 9, of_one_member: 9 });
        let all: Vec<Place> = (0..4).map(|_| take(&places, "10.0.0.1")).collect();
        assert_eq!(all.iter().filter(|place| lost(place)).count(), 2);
        assert!(places.take(ip("10.0.0.1")).is_none());
        let (gone, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(lost);
        drop(gone);
        let new = take(&places, "10.0.0.2");
        drop((stay, new));
        assert_empty(&places);
    }

    #[test]
    fn one_64_is_one_source() {
        let places =
            Places::new(Caps { connections: 9, strangers: 9, strangers_per_address: 1, of_one_member: 9 });
        let one = take(&places, "2001:db8::1");
        let two = take(&places, "2001:db8::2");
        let other = take(&places, "2001:db8:0:1::1");
        assert!(lost(&one) && !lost(&two) && !lost(&other));
    }

    #[test]
    fn behind_a_load_balancer_clients_count_by_their_own_addresses() {
        let places =
            Places::new(Caps { connections: 9, strangers: 4, strangers_per_address: 2, of_one_member: 9 });
        let mut all: Vec<Place> = Vec::new();
        for from in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
            let mut place = take(&places, "10.0.0.1");
            place.comes_from(ip(from));
            all.push(place);
        }
        assert!(!all.iter().any(lost));
        let mut one_more = take(&places, "10.0.0.1");
        one_more.comes_from(ip("192.0.2.1"));
        assert!(lost(&all[0]) && !all[1..].iter().any(lost) && !lost(&one_more));
        // What was lost before its address was known, stays lost.
        let mut late = take(&places, "10.0.0.1");
        let more: Vec<Place> = (0..2).map(|_| take(&places, "10.0.0.1")).collect();
        assert!(lost(&late));
        late.comes_from(ip("192.0.2.9"));
        drop((all, one_more, late, more));
        assert_empty(&places);
    }
}
