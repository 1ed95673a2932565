//! What came of what agents do after a renewal: one audit event each, and nothing else. An agent can say of itself what it likes; it
//! cannot say much.

use super::heartbeat::{own_instance, plain};
use crate::audit::{Event, kind};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::refusal;
use crate::services::change::Change;
use crate::services::rights::Rights;
use crate::services::shelf::Shelf;
use api::status::Problem;
use api::v1::HookResult;
use async_trait::async_trait;
use store::Txn;

/// The most results in one report.
const MOST: usize = 32;

/// Results to be written down.
pub(super) struct Hooked<'a> {
    shelf: Shelf<'a>,
    results: Vec<HookResult>,
}

impl<'a> Hooked<'a> {
    /// Holds them to their bounds.
    pub fn new(shelf: Shelf<'a>, results: Vec<HookResult>) -> Result<Self, Problem> {
        if results.is_empty() || results.len() > MOST {
            return Err(refusal::invalid(format!("a report has results of 1 to {MOST} hooks")));
        }
        let texts = results.iter().flat_map(|one| [&one.output, &one.action, &one.fault, &one.tail]);
        plain("a report", texts)?;
        Ok(Self { shelf, results })
    }
}

#[async_trait]
impl Change for Hooked<'_> {
    type Done = ();

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        _rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, ()), Problem> {
        let spec = own_instance(self.shelf, reads, caller).await?.resource.spec;
        let record = |txn: Txn, result| {
            let event = event(result)
                .with("bot_name", spec.bot_name.as_str())
                .with("bot_instance_id", spec.instance_id.to_string());
            txn.event(self.shelf.catalog.audit.record(caller.describe(event)))
        };
        Ok((self.results.iter().fold(Txn::new(), record), ()))
    }
}

fn event(result: &HookResult) -> Event {
    let HookResult { output, nth, action, fault, tail, took_ms } = result;
    let kind = if fault.is_empty() { kind::BOT_HOOK } else { kind::BOT_HOOK_FAILED };
    let event = Event::new(kind)
        .with("output", output.as_str())
        .with("hook", *nth)
        .with("action", action.as_str())
        .with("took_ms", *took_ms);
    let event = if tail.is_empty() { event } else { event.with("tail", tail.as_str()) };
    if fault.is_empty() { event.succeeded() } else { event.failed(fault) }
}
