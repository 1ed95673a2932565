//! What each member may cause in an hour: certificates, reports, lines in the audit log. Each has a budget of its own, so that one that
//! was stolen spends nothing of what the others need. Memory is bounded. In memory alone: a restart fills all of them.

use super::bucket::{Bucket, Budget};
use identity::Member;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The outputs of one instance, or what somebody signs for others: two agents' worth of ten outputs that are renewed each
/// minute, and nobody renews that often. In the longest life of a certificate (a day, and the hour by which clocks may differ)
/// that is 31,200 at most: a third of what a stock server can be told of by number.
const OUTPUTS: Budget = Budget { most: 1_200.0, per_second: 1_200.0 / 3600.0 };
/// Renewals of an identity itself, apart: whoever spends the outputs of an instance does not keep it from showing that there are
/// two of it.
const RENEWALS: Budget = Budget { most: 120.0, per_second: 120.0 / 3600.0 };
/// Documents of workloads. Those of a socket are used for half of five minutes, so that this serves 150 of them all the time.
const SVIDS: Budget = Budget { most: 2_000.0, per_second: 1.0 };
/// Results of hooks and words on how an agent is: two for each output.
const REPORTS: Budget = Budget { most: 2_400.0, per_second: 2_400.0 / 3600.0 };
/// Refusals that are written down.
pub(super) const REFUSALS: Budget = Budget { most: 60.0, per_second: 0.05 };

/// Members remembered at once. Who has its whole budget needs not be.
pub(super) const MEMBERS: usize = 65_536;

/// Who spends something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Spender {
    /// Whoever shows certificates of this member.
    Member(Member),
    /// A user of this machine who administers the cluster.
    LocalAdmin(u32),
    /// Joiners with this token, by its masked name.
    Token(String),
}

/// The budgets of certificates.
#[derive(Debug)]
pub struct Budgets {
    /// See [`OUTPUTS`].
    pub outputs: Spending,
    /// See [`RENEWALS`].
    pub renewals: Spending,
    /// See [`SVIDS`].
    pub svids: Spending,
}

impl Budgets {
    /// Nothing was spent.
    pub fn new(now: Timestamp) -> Self {
        let of = |budget| Spending::new(budget, now);
        Self { outputs: of(OUTPUTS), renewals: of(RENEWALS), svids: of(SVIDS) }
    }
}

/// One budget for each.
#[derive(Debug)]
pub struct Spending {
    budget: Budget,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    by: HashMap<Spender, Spent>,
    /// For all that find no place among the others.
    rest: Spent,
    swept: Timestamp,
}

#[derive(Debug)]
struct Spent {
    bucket: Bucket,
    refused: u64,
}

impl Spent {
    fn nothing(budget: Budget, now: Timestamp) -> Self {
        Self { bucket: Bucket::full(budget, now), refused: 0 }
    }
}

impl Spending {
    pub(super) fn new(budget: Budget, now: Timestamp) -> Self {
        let known = Known { by: HashMap::new(), rest: Spent::nothing(budget, now), swept: now };
        Self { budget, known: Mutex::new(known) }
    }

    /// Of the results of hooks.
    pub fn of_reports(now: Timestamp) -> Self {
        Self::new(REPORTS, now)
    }

    /// So many at once.
    pub fn most(&self) -> u64 {
        self.budget.most as u64
    }

    /// So many in each hour.
    pub fn per_hour(&self) -> u64 {
        (self.budget.per_second * 3600.0).round() as u64
    }

    /// Spends so many, and says how often that was refused since it was not. Or how long until there are as many, and how often
    /// that was refused by now.
    pub fn spend(&self, who: &Spender, amount: usize, now: Timestamp) -> Result<u64, (Duration, u64)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = known.spent(who, self.budget, now);
        match spent.bucket.take(self.budget, amount as f64, now) {
            Ok(()) => Ok(std::mem::take(&mut spent.refused)),
            Err(pause) => {
                spent.refused += 1;
                Err((pause, spent.refused))
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.known.lock().expect("not poisoned").by.len()
    }
}

impl Known {
    fn spent(&mut self, who: &Spender, budget: Budget, now: Timestamp) -> &mut Spent {
        if !self.by.contains_key(who) {
            if self.by.len() >= MEMBERS {
                self.sweep(budget, now);
            }
            if self.by.len() >= MEMBERS {
                return &mut self.rest;
            }
        }
        self.by.entry(who.clone()).or_insert_with(|| Spent::nothing(budget, now))
    }

    /// Forgets who has the whole budget again; not more often than once a second, because it looks at everybody.
    fn sweep(&mut self, budget: Budget, now: Timestamp) {
        if now.duration_since(self.swept).as_secs() < 1 {
            return;
        }
        self.swept = now;
        self.by.retain(|_, spent| spent.bucket.level(budget, now) < budget.most);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budgets, MEMBERS, REFUSALS, REPORTS, Spender, Spending};
    use identity::Member;
    use jiff::{SignedDuration, Timestamp};

    fn start() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a valid time")
    }

    fn after(seconds: i64) -> Timestamp {
        start() + SignedDuration::from_secs(seconds)
    }

    fn instance(n: usize) -> Spender {
        Spender::Member(Member::Instance(access::InstanceId(uuid::Uuid::from_u128(n as u128))))
    }

    #[test]
    fn ten_outputs_a_minute_fit_and_a_hundred_thousand_do_not() {
        let (budgets, honest, thief) = (Budgets::new(start()), instance(1), instance(2));
        let mut stolen = 0;
        for minute in 0..25 * 60 {
            let now = after(60 * minute);
            budgets.outputs.spend(&honest, 10, now).expect("there is always enough");
            budgets.renewals.spend(&honest, 1, now).expect("there is always enough");
            while budgets.outputs.spend(&thief, 32, now).is_ok() {
                stolen += 32;
            }
        }
        assert!((30_000..=31_200).contains(&stolen), "{stolen}");
    }

    #[test]
    fn who_has_spent_all_hears_when_there_is_more() {
        let (spending, who) = (Spending::new(REFUSALS, start()), instance(1));
        for _ in 0..60 {
            assert_eq!(spending.spend(&who, 1, start()), Ok(0));
        }
        let (pause, refused) = spending.spend(&who, 1, start()).expect_err("all is spent");
        assert_eq!((pause.as_secs(), refused), (20, 1));
        assert!(spending.spend(&who, 1, after(19)).is_err());
        assert_eq!(spending.spend(&who, 1, after(21)), Ok(2), "it says how many were not");
        assert_eq!(spending.spend(&instance(2), 1, start()), Ok(0), "it is nobody else's");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let spending = Spending::new(REPORTS, start());
        for n in 0..MEMBERS + 10 {
            spending.spend(&instance(n), 1, start()).expect("there is enough");
        }
        assert_eq!(spending.len(), MEMBERS);
        spending.spend(&instance(MEMBERS + 10), 1, after(3600)).expect("there is enough");
        assert_eq!(spending.len(), 1, "who has all of it again is forgotten");
    }
}
