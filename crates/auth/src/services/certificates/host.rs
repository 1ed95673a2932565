//! A host's next certificate: the same host, the same role, names that are nobody else's.

use super::bot::holder_answered;
use super::{Plan, committed, unexpected_caller};
use crate::caller::{Caller, Host as Bearer, Who};
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol::host::{Host, HostMismatch};
use crate::enrol::host_names::{self, Owner, Wish};
use crate::issuer::{self, Certificates, HostKeys};
use crate::metrics::Issued;
use crate::refusal;
use crate::services::join::{Taking, identity_of, name_problem, owner, refuse_bound_key};
use access::rbac::lock::LockSubject;
use api::status::{Class, Problem};
use api::v1;
use async_trait::async_trait;
use join::bound_keypair::Holder;
use store::{Entry, Expect, Txn};

/// Renews the caller's certificate.
pub async fn renew(
    core: &Core,
    caller: &Caller,
    request: &v1::RenewHostRequest,
) -> Result<v1::Credentials, Problem> {
    let Who::Host(bearer) = &caller.who else { return Err(unexpected_caller()) };
    let key = issuer::public_key(&request.public_key)?;
    let details = request.host.as_ref().ok_or_else(|| refusal::invalid("the host details are missing"))?;
    let ssh_key = issuer::ssh_key(details)?;
    let keys = HostKeys { tls: &key, ssh: ssh_key.as_ref() };
    core.spend(&core.budgets.renewals, caller, 1).await?;
    let renewing = Renewing { core, caller, bearer, keys, details };
    let certificates = committed(core, caller, &renewing).await?;
    core.metrics.issued(Issued::Host, 1);
    Ok(certificates.message())
}

/// A host has stored the answer to its join or renewal: nobody repeats the attempt from now on.
pub async fn confirm(core: &Core, bearer: &Bearer) -> Result<(), Problem> {
    loop {
        let Some(entry) = core.catalog.read(&Host::key_of(bearer.id, bearer.role)).await? else {
            return Err(unknown(bearer));
        };
        let host = Host::read(&entry)?;
        if !host.accepts(&bearer.key.fingerprint()) {
            return Err(mismatch(HostMismatch::NotTheNewest));
        }
        let Some(token) = &host.bound_to else { return Ok(()) };
        let is_newest = host.key == bearer.key.fingerprint();
        let answered = holder_answered(core, token, Holder::Host(host.id), is_newest).await?;
        let Some(txn) = answered else { return Ok(()) };
        if core.catalog.commit(txn.expect(entry.key, Expect::Revision(entry.revision))).await?.is_ok() {
            return Ok(());
        }
    }
}

fn unknown(bearer: &Bearer) -> Problem {
    let Bearer { id, role, .. } = bearer;
    Problem::new(Class::Denied, "host_unknown", format!("host {id} is no longer enrolled as a {role}"))
        .hint("join again with a new token: tctl tokens add")
}

struct Renewing<'a> {
    core: &'a Core,
    caller: &'a Caller,
    bearer: &'a Bearer,
    keys: HostKeys<'a>,
    details: &'a v1::HostDetails,
}

#[async_trait]
impl Plan for Renewing<'_> {
    type Made = Certificates;

    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Certificates), Problem> {
        let Self { core, caller, bearer, keys, details } = *self;
        if details.host_id != bearer.id.to_string() {
            return Err(Problem::new(Class::Denied, "other_host", "a host renews its own certificate only"));
        }
        let subject = LockSubject { server_id: Some(bearer.id), ..LockSubject::default() };
        reads.refuse_locked(&subject).await?;
        let entry = self.enrolment().await?;
        let known = Host::read(&entry)?;
        if known.bound_to.is_some() {
            // By its certificate alone it would show no join state, by which copies are told from it.
            let reason = "a host with a bound key renews by showing that key".to_owned();
            return Err(
                Problem::new(Class::Denied, "not_renewable", reason).hint("its agent joins again by itself")
            );
        }
        let fingerprint = keys.tls.fingerprint();
        let mut host = known.renewed(&bearer.key.fingerprint(), &fingerprint).map_err(mismatch)?;
        let me = owner(bearer.id, bearer.role);
        refuse_bound_key(core, &fingerprint, Some(&me)).await?;
        if let Some(key) = keys.ssh {
            refuse_bound_key(core, &key.fingerprint(), Some(&me)).await?;
        }
        let wish = Wish {
            id: bearer.id,
            role: bearer.role,
            hostname: &details.hostname,
            principals: &details.principals,
        };
        let names = host_names::names(&wish, &core.cluster).map_err(|refused| name_problem(&refused))?;
        let identity = identity_of(core, bearer.id, bearer.role, names.clone());
        let certificates = core.issuer.issue_host(&identity, keys, core.now())?;
        // Where it was enrolled from stays: a renewal may come through a proxy and has that one's address.
        (host.expires, host.names) = (certificates.expires(), names);
        let host = host.hold(Some(&known), core.now()).map_err(|refused| name_problem(&refused))?;
        let owner = Owner { id: bearer.id, role: bearer.role, from: host.from, bot: None };
        let (names, had) = (&host.names, &known.names);
        let taking = Taking { me: &owner, names, had, joins: false, until: host.expires };
        let txn = Txn::new().expect(entry.key, Expect::Revision(entry.revision));
        let txn = taking.add_to(core, txn).await?;
        let txn = host.put(txn).put_until(layout::subject_key(&fingerprint), me, host.expires);
        Ok((txn.event(core.issued(caller, &identity, &certificates)), certificates))
    }
}

impl Renewing<'_> {
    async fn enrolment(&self) -> Result<Entry, Problem> {
        let Bearer { id, role, .. } = self.bearer;
        let entry = self.core.catalog.read(&Host::key_of(*id, *role)).await?;
        entry.ok_or_else(|| unknown(self.bearer))
    }
}

/// The answer to a host whose certificate or key is not good for a renewal.
pub fn mismatch(mismatch: HostMismatch) -> Problem {
    match mismatch {
        HostMismatch::NotTheNewest => Problem::new(Class::Denied, "certificate_stale", mismatch.to_string())
            .hint("another process may use a copy of this host's data directory"),
        HostMismatch::KeyReused => Problem::new(Class::Invalid, "key_reused", mismatch.to_string()),
    }
}
