//! A host joins with a key that is bound to its token: the first time, after any outage, also when it has lost everything
//! else, and in place of renewals.
//!
//! As with bots, what the token remembers changes in the transaction that enrols the host, so a kill at any point leaves
//! the holder where it was.

use super::Refused;
use super::bot::{By, Joined, Planned};
use super::host::{Enrolment, Joining};
use super::keyed::{Kept, Keyed, Last, is_holder, random};
use crate::caller::{Host as Bearer, Who};
use crate::catalog::Reads;
use crate::core::Core;
use crate::enrol::host::{Host, HostMismatch};
use crate::services::certificates::{Whose, host_mismatch};
use access::resource::Token;
use access::resource::token::BoundKeypair;
use access::resource::token::bound_keypair::{RecoveryMode, Status};
use api::status::Problem;
use ca::HOST_LIFETIME;
use join::bound_keypair::{self, Holder, Step, Unfit};
use store::{Expect, Key, Txn};

/// A host's token with a key, and who shows one.
pub struct Binding<'a> {
    /// The joiner.
    pub joining: Joining<'a>,
    /// What it shows.
    pub keyed: Keyed<'a>,
}

impl Binding<'_> {
    /// Certificates by what the token says of the key.
    pub async fn plan(&self, reads: &mut Reads<'_>) -> Planned {
        let (settings, status) = (self.keyed.settings()?, self.keyed.status());
        let wish = self.joining.wish;
        match &self.joining.admission.caller.who {
            Who::Host(bearer)
                if (bearer.id, bearer.role) == (wish.id, wish.role)
                    && is_holder(settings, status.bound_host_id, bearer.id) =>
            {
                self.renew(reads, settings, status, bearer).await
            }
            _ => self.join(reads, settings, status).await,
        }
    }

    async fn unfit(&self, status: &Status, unfit: Unfit) -> Refused {
        let Some(id) = status.bound_host_id else { return self.keyed.unfit(status, unfit, None).await };
        let (core, role) = (self.joining.core, self.joining.wish.role);
        let entry = match core.catalog.read(&Host::key_of(id, role)).await {
            Ok(entry) => entry,
            Err(problem) => return problem.into(),
        };
        let from = entry.and_then(|entry| Host::read(&entry).ok()).and_then(|known| known.from);
        let addr = from.map(|from| from.to_string()).unwrap_or_default();
        self.keyed.unfit(status, unfit, Some(Last { whose: Whose::Host(id, role), addr })).await
    }

    /// Over a certificate that is valid: the same host, with another key.
    async fn renew(
        &self,
        reads: &mut Reads<'_>,
        settings: &BoundKeypair,
        status: Status,
        bearer: &Bearer,
    ) -> Planned {
        let Self { joining, keyed } = self;
        let (core, admission) = (joining.core, joining.admission);
        if let Err(unfit) = bound_keypair::holds(settings, &status, keyed.shown) {
            return Err(self.unfit(&status, unfit).await);
        }
        joining.refuse_locked(reads, bearer.id, &By::from(keyed.token)).await?;
        let Some(entry) = core.catalog.read(&Host::key_of(bearer.id, bearer.role)).await? else {
            return Err(admission.refused("the host was removed"));
        };
        let known = Host::read(&entry).map_err(Problem::from)?;
        let presented = bearer.key.fingerprint();
        match known.renewed(&presented, &admission.fingerprint) {
            Ok(_) => {}
            // It shows the key and a certificate that was left behind: the other one has renewed since.
            Err(mismatch @ HostMismatch::NotTheNewest) => {
                let whose = Whose::Host(bearer.id, bearer.role);
                let addr = known.from.map(|from| from.to_string()).unwrap_or_default();
                let numbers = (status.recovery_count.into(), status.recovery_count.into());
                let judged = (entry.key, entry.revision);
                return Err(keyed.twice(Last { whose, addr }, numbers, mismatch.to_string(), judged).await);
            }
            Err(mismatch) => return Err(host_mismatch(mismatch).into()),
        }
        joining.refuse_bound_keys().await?;
        let names = joining.names()?;
        let enrolment = Enrolment {
            names: &names,
            known: Some(&known),
            previous: Some(presented),
            bound_to: Some(keyed.token.metadata.name.clone()),
        };
        let txn = Txn::new().expect(entry.key, Expect::Revision(entry.revision));
        let (txn, certificates) = joining.enrolled(txn, enrolment).await?;
        Ok(keyed.renewed(txn, settings, status, certificates))
    }

    /// Without a valid certificate: a new host, or the one that it was.
    async fn join(&self, reads: &mut Reads<'_>, settings: &BoundKeypair, status: Status) -> Planned {
        let Self { joining, keyed } = self;
        let (core, wish, token, shown) = (joining.core, joining.wish, keyed.token, keyed.shown);
        let step = match bound_keypair::admit(settings, &status, shown, core.now()) {
            Ok(step) => step,
            Err(unfit) => return Err(self.unfit(&status, unfit).await),
        };
        let before = status.bound_host_id;
        let mut by = By::from(token);
        // A lock on what the holder was is one on what it will be.
        for id in [before, Some(wish.id)].into_iter().flatten() {
            joining.refuse_locked(reads, id, &by).await?;
        }
        let names = joining.names()?;
        // What the holder was once may be somebody else by now.
        let is_its_own = |known: &Host| before == Some(wish.id) && is_of(known, token);
        let (expect, known) = joining.refuse_taken_id(is_its_own).await?;
        joining.refuse_bound_keys().await?;
        let mut next = match step {
            Step::Retry => {
                self.refuse_another_s(&status, known.as_ref())?;
                status
            }
            Step::Register | Step::Recover => {
                bound_keypair::joined_as(&status, shown, Holder::Host(wish.id), core.now(), &random()?)
            }
        };
        let Kept { key_accepted, join_state, attributes } = keyed.kept(settings, &mut next, step);
        by.attributes = attributes;
        let bound_to = Some(token.metadata.name.clone());
        let enrolment = Enrolment { names: &names, known: known.as_ref(), previous: None, bound_to };
        let txn = Txn::new().expect(Host::key_of(wish.id, wish.role), expect);
        let (txn, certificates) = joining.enrolled(txn, enrolment).await?;
        let txn = match before.filter(|before| *before != wish.id) {
            // There is one holder, so what it was before is nobody now.
            Some(before) if settings.recovery.mode != RecoveryMode::Insecure => {
                forgotten(core, txn, Host::key_of(before, wish.role), token).await?
            }
            _ => txn,
        };
        let txn = keyed.remember(txn, next).event(core.audit().record(joining.event(&by)));
        Ok((txn, Joined { certificates, join_state, key_accepted }))
    }

    /// An attempt is good for the host that it enrolled, as long as that has not renewed and nobody has removed it.
    fn refuse_another_s(&self, status: &Status, known: Option<&Host>) -> Result<(), Refused> {
        let Self { joining, .. } = self;
        let refused = |why: &str| Err(joining.admission.refused(why));
        if status.bound_host_id != Some(joining.wish.id) {
            return refused("the attempt was made for another host");
        }
        let Some(known) = known else {
            // Later it may have gone by itself, with its last certificate.
            let ends = status.last_recovered_at.map(|last| last + HOST_LIFETIME);
            return match ends.is_some_and(|ends| joining.core.now() < ends) {
                true => refused("the host of this attempt was removed"),
                false => Ok(()),
            };
        };
        match known.key == joining.admission.fingerprint && known.previous.is_none() {
            true => Ok(()),
            false => refused("the host of this attempt has renewed since"),
        }
    }
}

/// Whether a host came in by a key that is bound to this token.
fn is_of(host: &Host, token: &Token) -> bool {
    host.bound_to.as_deref() == Some(token.metadata.name.as_str())
}

/// Removes what the holder of the token was, unless that is somebody else by now.
async fn forgotten(core: &Core, txn: Txn, key: Key, token: &Token) -> Result<Txn, Problem> {
    let Some(entry) = core.catalog.read(&key).await? else { return Ok(txn) };
    match is_of(&Host::read(&entry)?, token) {
        true => Ok(txn.expect(key.clone(), Expect::Revision(entry.revision)).delete(key)),
        false => Ok(txn),
    }
}
