//! What agents say of themselves. It is shown to people and decides nothing.

use crate::caller::{Caller, Who};
use crate::catalog::Reads;
use crate::enrol::instance::Instance;
use crate::enrol::lineage::Presented;
use crate::refusal;
use crate::services::change::Change;
use crate::services::rights::Rights;
use crate::services::shelf::Shelf;
use access::resource::bot::Heartbeat;
use api::status::{Class, Problem};
use async_trait::async_trait;
use store::{Expect, Txn};

/// The longest report.
const MAX_JSON: usize = 16 * 1024;
/// The longest text in one.
const MAX_TEXT: usize = 256;
/// The most services of which one tells.
const MAX_SERVICES: usize = 32;

/// A report to be kept.
pub(super) struct Report<'a> {
    shelf: Shelf<'a>,
    heartbeat: Heartbeat,
}

impl<'a> Report<'a> {
    /// Reads the report. Auth's clock says when it came, whatever the agent says.
    pub fn new(shelf: Shelf<'a>, json: &str) -> Result<Self, Problem> {
        if json.len() > MAX_JSON {
            return Err(refusal::invalid(format!("a heartbeat has {MAX_JSON} bytes at most")));
        }
        let mut heartbeat: Heartbeat = serde_json::from_str(json)
            .map_err(|error| refusal::invalid(format!("this is no heartbeat: {error}")))?;
        let Heartbeat { hostname, version, architecture, os, services, .. } = &heartbeat;
        if services.len() > MAX_SERVICES {
            return Err(refusal::invalid(format!("a heartbeat tells of {MAX_SERVICES} services at most")));
        }
        let of_services = services.iter().flat_map(|s| [&s.name, &s.kind, &s.status, &s.reason]);
        plain("a heartbeat", [hostname, version, architecture, os].into_iter().chain(of_services))?;
        heartbeat.recorded_at = Some(shelf.catalog.now());
        Ok(Self { shelf, heartbeat })
    }
}

#[async_trait]
impl Change for Report<'_> {
    type Done = ();

    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        _rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, ()), Problem> {
        let mut instance = own_instance(self.shelf, reads, caller).await?;
        instance.report(self.heartbeat.clone());
        Ok((instance.put(Txn::new()), ()))
    }
}

/// Holds the texts of a report to what may be shown and kept: short, and nothing that would move a terminal.
pub(super) fn plain<'a>(what: &str, mut texts: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    match texts.any(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control)) {
        true => Err(refusal::invalid(format!("{what}'s texts are short and have no control characters"))),
        false => Ok(()),
    }
}

/// The instance that calls, as it is stored, if its certificate is of a generation that is in use.
pub(super) async fn own_instance(
    shelf: Shelf<'_>,
    reads: &mut Reads<'_>,
    caller: &Caller,
) -> Result<Instance, Problem> {
    let denied = |reason| Problem::new(Class::Denied, "not_an_instance", reason);
    let Who::User(user) = &caller.who else {
        return Err(denied("only a bot reports of itself"));
    };
    let own = user.own_bot().ok_or_else(|| denied("only the own identity of a bot reports of it"))?;
    let key = crate::catalog::layout::instance(own.name, own.instance);
    let Some(entry) = shelf.catalog.read(&key).await? else {
        return Err(denied("this instance was removed"));
    };
    reads.expect(key, Expect::Revision(entry.revision));
    let instance = Instance::read(&entry)?;
    let fingerprint = user.key.fingerprint();
    match instance.lineage.accepts(Presented { number: own.generation, key: &fingerprint }) {
        true => Ok(instance),
        false => Err(denied("this generation of the instance is not in use any more")),
    }
}
