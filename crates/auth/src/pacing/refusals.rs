//! How many refusals of a member become events. Anybody who was ever let in can be refused as often as he likes, also while he is
//! locked; the audit log is for those who read it.

use super::budgets::{REFUSALS, Spender, Spending};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;

/// Who was refused how often.
#[derive(Debug)]
pub struct Refusals {
    spending: Spending,
    /// Refusals that did not become events.
    pub untold: Counter,
}

impl Refusals {
    /// Nobody was refused yet.
    pub fn new(now: Timestamp) -> Self {
        Self { spending: Spending::new(REFUSALS, now), untold: Counter::default() }
    }

    /// Whether one is written down now; with how many since the last one that were not.
    pub fn tells(&self, who: &Spender, now: Timestamp) -> Option<u64> {
        match self.spending.spend(who, 1, now) {
            Ok(untold) => Some(untold),
            Err((_, refused)) => {
                self.untold.inc();
                if refused == 1 {
                    tracing::warn!(?who, "refused too often for the audit log; from here on it is counted");
                }
                None
            }
        }
    }
}
