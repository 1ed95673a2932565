//! A bot joins with a key that is bound to its token: the first time, after any time away, and in place of renewals.
//!
//! What the token remembers changes in the same transaction that makes the instance, so a kill at any point leaves the
//! holder where it was: it repeats its attempt, which is known, and is counted once.

use super::Refused;
use super::admission::Admission;
use super::bot::{By, Joined, Joining, Planned};
use crate::catalog::{Reads, layout};
use crate::enrol::instance::Instance;
use crate::refusal;
use crate::services::certificates::{Bearer, Incident, Renewing, Stop};
use access::InstanceId;
use access::resource::token::bound_keypair::{RecoveryMode, Status};
use access::resource::token::{BoundKeypair, JoinMethod, Method};
use access::resource::{Bot, Token};
use api::status::{Class, Problem};
use api::v1::JoinCheck;
use jiff::{SignedDuration, Timestamp};
use join::bound_keypair::{self, Shown, Step, Unfit};
use store::{Entry, Expect, Revision, Txn};

/// No certificate of a bot lives longer, and no instance without one.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A token with a key, and who shows one.
pub struct Binding<'a> {
    /// The joiner.
    pub joining: &'a Joining<'a>,
    /// The token.
    pub token: &'a Token,
    /// As it was read.
    pub revision: Revision,
    /// What was shown.
    pub shown: &'a Shown,
}

impl Binding<'_> {
    /// Certificates by what the token says of the key.
    pub async fn plan(&self, reads: &mut Reads<'_>) -> Planned {
        let Method::BoundKeypair(settings) = &self.token.spec.method else {
            return Err(self.admission().refused("the token is of another join method"));
        };
        let Some(name) = &self.token.spec.bot_name else {
            return Err(self.admission().refused("the token names no bot"));
        };
        let status = self.token.status.as_deref().cloned().unwrap_or_default();
        if let Ok(bearer) = Bearer::of(&self.admission().caller)
            && bearer.bot.name == name
            && !bearer.bot.renewable
            && is_holders(settings, &status, bearer.bot.instance)
        {
            return self.renew(reads, settings, status, &bearer).await;
        }
        self.join(reads, settings, status).await
    }

    fn admission(&self) -> &Admission {
        self.joining.admission
    }

    /// Who shows the key is told what is wrong; who shows another is a stranger.
    async fn unfit(&self, status: &Status, unfit: Unfit) -> Refused {
        if !self.shown.is_holder(status) {
            return self.admission().refused(unfit.to_string()).with(check(unfit), vec![]);
        }
        let hint = match unfit {
            Unfit::Copied { stored, presented } => {
                return match status.bound_bot_instance_id {
                    Some(instance) => {
                        Refused::locked(self.copied(instance, (stored, presented), unfit).await)
                    }
                    None => self.admission().refused(unfit.to_string()),
                };
            }
            Unfit::LimitReached { .. } => {
                "raise spec.bound_keypair.recovery.limit of the token, or set recovery.mode: relaxed"
            }
            _ => "bind the key again: remove the token, make it again, and start with an empty storage",
        };
        let problem = Problem::new(Class::Denied, unfit.code(), unfit.to_string()).hint(hint);
        Refused::from(problem).with(check(unfit), vec![])
    }

    async fn copied(&self, instance: InstanceId, numbers: (u64, u64), unfit: Unfit) -> Problem {
        let Self { joining, token, revision, .. } = self;
        let (core, admission) = (joining.core, joining.admission);
        let Some(bot) = &token.spec.bot_name else {
            return refusal::internal("a token has lost its bot", "no bot_name");
        };
        let entry = match core.catalog.read(&layout::instance(bot, instance)).await {
            Ok(entry) => entry,
            Err(problem) => return problem,
        };
        let known = entry.and_then(|entry| Instance::read(&entry).ok());
        let incident = Incident {
            core,
            caller: &admission.caller,
            bot,
            instance,
            join_token: Some(&admission.token_name),
            other_addr: known.map(|known| known.last_address().to_owned()).unwrap_or_default(),
            presented: numbers.1,
            stored: numbers.0,
            mismatch: unfit.to_string(),
            judged: (layout::token(admission.proven.token()), *revision),
        };
        incident.lock().await
    }

    /// Over a certificate that is valid: the same instance, its next generation.
    async fn renew(
        &self,
        reads: &mut Reads<'_>,
        settings: &BoundKeypair,
        mut status: Status,
        bearer: &Bearer<'_>,
    ) -> Planned {
        let Self { joining, token, .. } = self;
        let (core, admission) = (joining.core, joining.admission);
        if let Err(unfit) = bound_keypair::holds(settings, &status, self.shown) {
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
        let join_state = bound_keypair::state_of(&status);
        // Whoever renews has had the answer to its join.
        let txn = match status.unconfirmed_attempt.take() {
            Some(_) => self.remember(txn, status),
            None => txn.expect(layout::token(admission.proven.token()), Expect::Revision(self.revision)),
        };
        Ok((txn, Joined { certificates, join_state }))
    }

    /// Without a valid certificate: a new instance, or the one of this attempt again.
    async fn join(&self, reads: &mut Reads<'_>, settings: &BoundKeypair, status: Status) -> Planned {
        let Self { joining, token, shown, .. } = self;
        let core = joining.core;
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
        let next = match again {
            Some(_) => status,
            None => bound_keypair::joined_as(&status, shown, id, core.now(), &random()?),
        };
        let join_state = bound_keypair::state_of(&next);
        let attributes =
            vec![("step", step.to_string()), ("recovery_count", next.recovery_count.to_string())];
        let by = By { attributes, ..By::from(*token) };
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
        let txn = self.remember(txn, next);
        Ok((joining.recorded(txn, &by, &bot, id, &certificates), Joined { certificates, join_state }))
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

    fn remember(&self, txn: Txn, status: Status) -> Txn {
        let token = Token { status: Some(Box::new(status)), ..Token::clone(self.token) };
        let key = layout::token(self.admission().proven.token());
        let txn = txn.expect(key, Expect::Revision(self.revision));
        self.joining.core.tokens.put(txn, &token)
    }
}

/// Whether this instance is the one of the key's holder; in mode `insecure` there are several.
fn is_holders(settings: &BoundKeypair, status: &Status, instance: InstanceId) -> bool {
    settings.recovery.mode == RecoveryMode::Insecure || status.bound_bot_instance_id == Some(instance)
}

fn check(unfit: Unfit) -> JoinCheck {
    let (field, found) = (unfit.field().to_owned(), unfit.to_string());
    JoinCheck { rule: 0, field, wanted: "the holder of the bound key".to_owned(), found, fits: false }
}

fn random() -> Result<[u8; 32], Problem> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|error| refusal::internal("a join state could not be made", error))?;
    Ok(random)
}
