//! Which certificates a lock hits, where OpenSSH could not tell by itself: it sees neither roles, nor copies of a bot, nor what they joined with. The
//! audit log has every certificate that was issued, and once a lock is in force no more are.

use crate::catalog::Found;
use crate::core::Core;
use crate::lifetime;
use access::resource::Lock;
use access::resource::lock::LockTarget;
use api::status::Problem;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use store::{Direction, EventFilter, Revision};
use tokio::sync::Mutex;

/// Clocks may have been set, and events may be late.
const SLACK: SignedDuration = SignedDuration::from_hours(1);
/// Locks remembered at once.
const REMEMBERED: usize = 1024;
/// Of all that a server is told of at once. Of a lock that hits more, it is told who has them.
pub const MOST: Most = Most { serials: 100_000, key_ids: 20_000 };

/// How many a server is told of.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Certificates.
    pub serials: usize,
    /// Their holders, none of whose certificates are believed then.
    pub key_ids: usize,
}

/// The certificates for each lock that was asked about.
#[derive(Debug, Default)]
pub struct Revoked {
    known: Mutex<HashMap<(String, Revision), Hit>>,
}

/// What one lock hits.
#[derive(Debug)]
struct Hit {
    /// None where there are more than may be told.
    certificates: Option<Vec<Certificate>>,
    /// Who has them, and until when; none where these are too many as well.
    holders: Option<HashMap<String, Option<Timestamp>>>,
    made: Timestamp,
}

/// What a server is told of one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The serial numbers, if they are not too many.
    pub serials: Option<BTreeSet<u64>>,
    /// The key ids of those certificates, if they are not too many.
    pub holders: Option<BTreeSet<String>>,
}

/// What a server is told of all locks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct All {
    pub serials: BTreeSet<u64>,
    pub key_ids: BTreeSet<String>,
    /// Of these it cannot be told: it has to let nobody in, because half a list would let the other half in.
    pub too_many: bool,
}

impl All {
    /// By serial numbers as far as they fit. The lock that hits most is told by the holders first: their other certificates are
    /// refused with those, and nobody else's.
    pub fn of(locks: Vec<Told>, most: Most) -> Self {
        let mut all = Self::default();
        let (mut listed, named): (Vec<_>, Vec<_>) = locks
            .into_iter()
            .map(|told| (told.serials, told.holders))
            .partition(|(serials, _)| serials.is_some());
        let mut add = |holders: Option<BTreeSet<String>>| match holders {
            Some(holders) => all.key_ids.extend(holders),
            None => all.too_many = true,
        };
        named.into_iter().for_each(|(_, holders)| add(holders));
        listed.sort_by_key(|(serials, _)| serials.as_ref().map_or(0, BTreeSet::len));
        while listed.iter().flat_map(|(serials, _)| serials).map(BTreeSet::len).sum::<usize>() > most.serials
        {
            add(listed.pop().and_then(|(_, holders)| holders));
        }
        all.serials = listed.into_iter().filter_map(|(serials, _)| serials).flatten().collect();
        all.too_many |= all.key_ids.len() > most.key_ids;
        match all.too_many {
            true => Self { too_many: true, ..Self::default() },
            false => all,
        }
    }
}

impl Hit {
    fn is_good(&self, now: Timestamp) -> bool {
        self.certificates.is_some() || now.duration_since(self.made) < SLACK
    }

    fn told(&self, now: Timestamp) -> Told {
        let certificates = self.certificates.as_ref().map(|all| {
            let valid = all.iter().filter(|certificate| may_be_valid(certificate.expires, now));
            valid.map(|certificate| certificate.serial).collect()
        });
        let holders = self.holders.as_ref().map(|all| {
            let valid = all.iter().filter(|(_, expires)| may_be_valid(**expires, now));
            valid.map(|(name, _)| name.clone()).collect()
        });
        Told { serials: certificates, holders }
    }

    /// Takes one in.
    fn add(&mut self, issued: Issued, most: Most) {
        let Issued { serial, identity: About { expires, user, .. }, .. } = issued;
        if let Some(all) = &mut self.certificates {
            all.push(Certificate { serial, expires });
            if all.len() > most.serials {
                self.certificates = None;
            }
        }
        if let Some(all) = &mut self.holders {
            let until = all.entry(user).or_insert(expires);
            // One without an end is good for ever.
            *until = until.zip(expires).map(|(a, b)| a.max(b));
            // An event that does not say whose it is leaves nobody to be named.
            if all.len() > most.key_ids || all.contains_key("") {
                self.holders = None;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.certificates.is_none() && self.holders.is_none()
    }
}

#[derive(Debug, Clone, Copy)]
struct Certificate {
    serial: u64,
    expires: Option<Timestamp>,
}

/// The server's clock may be behind.
fn may_be_valid(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_none_or(|expires| now.duration_since(expires) < SLACK)
}

/// As much of an event as matters.
#[derive(Deserialize)]
struct Issued {
    cert_type: String,
    serial: u64,
    identity: About,
}

#[derive(Deserialize)]
struct About {
    /// The key id.
    #[serde(default)]
    user: String,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    bot_instance_id: Option<String>,
    #[serde(default)]
    join_token: Option<String>,
}

impl Revoked {
    /// The user certificates that may be valid and are hit by role, instance or join token.
    pub(super) async fn by(&self, core: &Core, lock: &Found<Lock>, most: Most) -> Result<Told, Problem> {
        let name = (lock.value.metadata.name.clone(), lock.revision);
        let now = core.now();
        // Held meanwhile: all servers ask at the same moment, for the same.
        let mut known = self.known.lock().await;
        let hit = match known.remove(&name).filter(|hit| hit.is_good(now)) {
            Some(hit) => hit,
            None => look(core, &lock.value.spec.target, most).await?,
        };
        let told = hit.told(now);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name, hit);
        Ok(told)
    }
}

async fn look(core: &Core, target: &LockTarget, most: Most) -> Result<Hit, Problem> {
    let longest = SignedDuration::try_from(lifetime::LONGEST).unwrap_or(SignedDuration::MAX) + SLACK;
    let now = core.now();
    let from = now.checked_sub(longest).ok();
    let mut filter = EventFilter {
        from,
        names: vec![crate::audit::kind::CERT_CREATE.event.to_owned()],
        direction: Direction::Ascending,
        ..EventFilter::default()
    };
    let mut found_by = Hit { certificates: Some(Vec::new()), holders: Some(HashMap::new()), made: now };
    loop {
        let found = core.audit().search(filter.clone()).await;
        let found = found.map_err(|error| crate::refusal::internal("the audit log cannot be read", error))?;
        let Some(last) = found.last() else { return Ok(found_by) };
        filter.after = Some(last.seq);
        let issued = found.iter().filter_map(|event| serde_json::from_str::<Issued>(&event.json).ok());
        let hit = issued.filter(|issued| issued.cert_type == "user" && hit(target, &issued.identity));
        hit.filter(|issued| may_be_valid(issued.identity.expires, now))
            .for_each(|issued| found_by.add(issued, most));
        if found_by.is_over() {
            return Ok(found_by);
        }
    }
}

fn hit(target: &LockTarget, about: &About) -> bool {
    let role = target.role.as_ref().is_some_and(|role| about.roles.contains(role));
    let instance = target.bot_instance_id.as_deref().zip(about.bot_instance_id.as_deref());
    let token = target.join_token.is_some() && target.join_token == about.join_token;
    role || token
        || instance.is_some_and(|(wanted, found)| {
            wanted.split_once('.').map_or(wanted, |(id, _)| id).eq_ignore_ascii_case(found)
        })
}

#[cfg(test)]
mod tests {
    use super::{About, All, Hit, Issued, Most, SLACK, Told};
    use jiff::{SignedDuration, Timestamp};
    use std::collections::{BTreeSet, HashMap};

    const MOST: Most = Most { serials: 3, key_ids: 2 };

    fn empty(made: Timestamp) -> Hit {
        Hit { certificates: Some(vec![]), holders: Some(HashMap::new()), made }
    }

    fn issued(serial: u64, user: &str, expires: &str) -> Issued {
        let event =
            serde_json::json!({"roles": ["ops"], "user": user, "expires": expires.parse::<Timestamp>().ok()});
        let identity: About = serde_json::from_value(event).expect("of an event");
        Issued { cert_type: "user".to_owned(), serial, identity }
    }

    fn told(serials: Option<&[u64]>, holders: Option<&[&str]>) -> Told {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        Told { serials: serials.map(|all| all.iter().copied().collect()), holders: holders.map(names) }
    }

    #[test]
    fn certificates_that_have_ended_are_left_out() {
        let end = "2026-01-01T00:00:00Z";
        let ended: Timestamp = end.parse().expect("a time");
        let mut hit = empty(Timestamp::UNIX_EPOCH);
        hit.add(issued(1, "bot-a", end), MOST);
        hit.add(issued(2, "bot-b", ""), MOST);
        assert_eq!(hit.told(ended), told(Some(&[1, 2]), Some(&["bot-a", "bot-b"])), "clocks differ");
        let later = ended + SLACK;
        assert_eq!(hit.told(later), told(Some(&[2]), Some(&["bot-b"])));
        assert!(hit.is_good(later));
    }

    #[test]
    fn where_there_are_too_many_it_is_known_whose_they_are() {
        let (made, mut hit) = (Timestamp::UNIX_EPOCH, empty(Timestamp::UNIX_EPOCH));
        for serial in 1..=9 {
            hit.add(issued(serial, "bot-a", "2026-01-01T00:00:00Z"), MOST);
        }
        assert_eq!(hit.told(made), told(None, Some(&["bot-a"])));
        // How many they are by then is seen by looking again.
        assert!(hit.is_good(made + SLACK - SignedDuration::from_secs(1)) && !hit.is_good(made + SLACK));
        let mut nameless = empty(made);
        nameless.add(issued(1, "", "2026-01-01T00:00:00Z"), MOST);
        assert_eq!(nameless.told(made), told(Some(&[1]), None));
        for user in ["bot-b", "bot-c"] {
            hit.add(issued(1, user, "2026-01-01T00:00:00Z"), MOST);
        }
        assert!(hit.is_over());
    }

    #[test]
    fn what_is_too_much_by_number_is_told_by_name_and_costs_nobody_else() {
        let set = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let few = told(Some(&[1]), Some(&["ann"]));
        let many = told(Some(&[2, 3, 4]), Some(&["bot-a"]));
        let far_too_many = told(None, Some(&["bot-b"]));
        let all = All::of(vec![many.clone(), few.clone()], MOST);
        let expected = All { serials: [1].into(), key_ids: set(&["bot-a"]), too_many: false };
        assert_eq!(all, expected, "the lock that hits most is told by name");
        let all = All::of(vec![far_too_many.clone(), few.clone()], MOST);
        assert_eq!(all, All { serials: [1].into(), key_ids: set(&["bot-b"]), too_many: false });
        let all = All::of(vec![few.clone(), told(Some(&[2, 3]), None)], MOST);
        assert_eq!((all.serials.len(), all.too_many), (3, false), "all fit");
        for too_many in [told(None, None), told(None, Some(&["x", "y", "z"]))] {
            assert_eq!(All::of(vec![few.clone(), too_many], MOST), All { too_many: true, ..All::default() });
        }
    }
}
