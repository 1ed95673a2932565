//! A bot joins with a key that is bound to its token: the first time, after any time away, and in place of renewals.
//!
//! What the token remembers changes in the same transaction that makes the instance, so a kill at any point leaves the
//! holder where it was: it repeats its attempt, which is known, and is counted once.

use super::Refused;
use super::admission::Admission;
use super::bot::{By, Joined, Joining, Planned};
use super::keyed::{Kept, Keyed, Last, is_holder, random};
use crate::catalog::{Reads, layout};
use crate::enrol::instance::Instance;
use crate::services::certificates::{Bearer, Renewing, Stop, Whose};
use access::InstanceId;
use access::resource::Bot;
use access::resource::token::bound_keypair::{RecoveryMode, Status};
use access::resource::token::{BoundKeypair, JoinMethod};
use api::status::Problem;
use jiff::{SignedDuration, Timestamp};
use join::bound_keypair::{self, Holder, Step, Unfit};
use store::{Entry, Expect, Txn};

/// No certificate of a bot lives longer, and no instance without one.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A bot's token with a key, and who shows one.
pub struct Binding<'a> {
    /// The joiner.
    pub joining: &'a Joining<'a>,
    /// What it shows.
    pub keyed: Keyed<'a>,
}

impl Binding<'_> {
    /// Certificates by what the token says of the key.
    pub async fn plan(&self, reads: &mut Reads<'_>) -> Planned {
        let settings = self.keyed.settings()?;
        let Some(name) = &self.keyed.token.spec.bot_name else {
            return Err(self.admission().refused("the token names no bot"));
        };
        let status = self.keyed.status();
        if let Ok(bearer) = Bearer::of(&self.admission().caller)
            && bearer.bot.name == name
            && !bearer.bot.renewable
            && is_holder(settings, status.bound_bot_instance_id, bearer.bot.instance)
        {
            return self.renew(reads, settings, status, &bearer).await;
        }
        self.join(reads, settings, status).await
    }

    fn admission(&self) -> &Admission {
        self.joining.admission
    }

    async fn unfit(&self, status: &Status, unfit: Unfit) -> Refused {
        let bot = self.keyed.token.spec.bot_name.as_ref();
        let Some((bot, instance)) = bot.zip(status.bound_bot_instance_id) else {
            return self.keyed.unfit(status, unfit, None).await;
        };
        let entry = match self.joining.core.catalog.read(&layout::instance(bot, instance)).await {
            Ok(entry) => entry,
            Err(problem) => return problem.into(),
        };
        let known = entry.and_then(|entry| Instance::read(&entry).ok());
        let addr = known.map(|known| known.last_address().to_owned()).unwrap_or_default();
        self.keyed.unfit(status, unfit, Some(Last { whose: Whose::Bot(bot, instance), addr })).await
    }

    /// Over a certificate that is valid: the same instance, its next generation.
    async fn renew(
        &self,
        reads: &mut Reads<'_>,
        settings: &BoundKeypair,
        status: Status,
        bearer: &Bearer<'_>,
    ) -> Planned {
        let Self { joining, keyed } = self;
        let (core, admission, token) = (joining.core, joining.admission, keyed.token);
        if let Err(unfit) = bound_keypair::holds(settings, &status, keyed.shown) {
            return Err(self.unfit(&status, unfit).await);
        }
        let (instance, revision) = bearer.instance(core).await?;
        let by = Some((JoinMethod::BoundKeypair, token.metadata.name.as_str()));
        let (caller, key, ttl_seconds) = (&admission.caller, &admission.key, joining.ttl_seconds);
        let renewing = Renewing { core, caller, bearer, key, ttl_seconds, by };
        self.joining.refuse_locked(reads, token, bearer.bot.instance).await?;
        let (txn, certificates) = match renewing.plan(reads, instance, revision).await {
            Ok(planned) => planned,
            Err(Stop::Refused(problem)) => return Err(problem.into()),
            Err(Stop::Incident(instance, mismatch)) => {
                let incident = renewing.incident(&instance, revision, mismatch);
                return Err(Refused::locked(incident.lock().await));
            }
        };
        Ok(keyed.renewed(txn, settings, status, certificates))
    }

    /// Without a valid certificate: a new instance, or the one of this attempt again.
    async fn join(&self, reads: &mut Reads<'_>, settings: &BoundKeypair, status: Status) -> Planned {
        let Self { joining, keyed } = self;
        let (core, token, shown) = (joining.core, keyed.token, keyed.shown);
        let step = match bound_keypair::admit(settings, &status, shown, core.now()) {
            Ok(step) => step,
            Err(unfit) => return Err(self.unfit(&status, unfit).await),
        };
        let before = status.bound_bot_instance_id;
        if let Some(before) = before {
            // A lock on what the holder was is one on what it will be.
            joining.refuse_locked(reads, token, before).await?;
        }
        let again = before.filter(|_| step == Step::Retry);
        let id = again.unwrap_or_else(|| InstanceId(uuid::Uuid::new_v4()));
        let bot = joining.refuse_locked(reads, token, id).await?;
        let mut next = match again {
            Some(_) => status,
            None => bound_keypair::joined_as(&status, shown, Holder::Bot(id), core.now(), &random()?),
        };
        let Kept { key_accepted, join_state, attributes } = keyed.kept(settings, &mut next, step);
        let by = By { attributes, ..By::from(token) };
        let removed_until =
            next.last_recovered_at.filter(|_| again.is_some()).map(|last| last + LONGEST_LIFE);
        let (txn, certificates) = self.instance(&bot, id, &by, removed_until).await?;
        let txn = match before.filter(|before| *before != id) {
            // There is one holder, so what it was before is nobody now.
            Some(before) if settings.recovery.mode != RecoveryMode::Insecure => {
                txn.delete(layout::instance(&bot.name, before))
            }
            _ => txn,
        };
        let txn = joining.recorded(keyed.remember(txn, next), &by, &bot, id, &certificates);
        Ok((txn, Joined { certificates, join_state, key_accepted }))
    }

    /// The instance as it is after joining. `again`, for a further try of an attempt, is the time until when the instance
    /// that it made is there, unless somebody has removed it.
    async fn instance(
        &self,
        bot: &Bot,
        id: InstanceId,
        by: &By,
        again: Option<Timestamp>,
    ) -> Result<(Txn, crate::issuer::Certificates), Refused> {
        let Self { joining, .. } = self;
        let certificates = joining.certificates(bot, by.own(id))?;
        let key = layout::instance(&bot.name, id);
        let present = joining.core.catalog.read(&key).await?;
        if let Some(until) = again {
            self.refuse_another_s(present.as_ref(), until)?;
        }
        let expect = present.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let first = (joining.admission.fingerprint.as_str(), certificates.expires());
        let instance = Instance::joined(&bot.name, id, first, &joining.seen(by), None);
        let txn = instance.put(Txn::new().expect(key, expect));
        Ok((joining.bind(txn, &bot.name, id, certificates.expires()).await?, certificates))
    }

    /// An attempt is good for the instance that it made, as long as that has not renewed and nobody has removed it.
    fn refuse_another_s(&self, present: Option<&Entry>, until: Timestamp) -> Result<(), Refused> {
        let refused = |why: &str| Err(self.admission().refused(why));
        let Some(entry) = present else {
            // Later it may have gone by itself, with its last certificate.
            return match self.joining.core.now() < until {
                true => refused("the instance of this attempt was removed"),
                false => Ok(()),
            };
        };
        let known = Instance::read(entry).map_err(Problem::from)?;
        match known.lineage.is_first() && known.lineage.confirmed().key == self.admission().fingerprint {
            true => Ok(()),
            false => refused("the instance of this attempt has renewed since"),
        }
    }
}
