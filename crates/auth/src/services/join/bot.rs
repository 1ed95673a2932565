//! A bot joins: its token is spent on a new instance of it.

use super::Refused;
use super::admission::{Admission, Grant, NoGrant, Standing};
use super::host::refuse_bound_key;
use crate::audit::{Event, UserKind, kind};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol;
use crate::enrol::claim::Claim;
use crate::enrol::instance::{Instance, Seen};
use crate::enrol::lineage::Lineage;
use crate::issuer::Certificates;
use crate::lifetime;
use crate::metrics::Issued;
use access::rbac::lock::LockSubject;
use access::resource::Bot;
use access::{BotName, InstanceId};
use api::status::Problem;
use identity::{BotIdentity, Identity, Permits, Subject, UserIdentity};
use std::sync::Arc;
use store::{Expect, Revision, Txn};

/// Certificates for a new instance, or again for the one that this attempt made.
pub async fn admit(core: &Core, admission: &Admission, ttl_seconds: u64) -> Result<Certificates, Refused> {
    let mut reads = Reads::new(&core.catalog);
    loop {
        let Standing { grant, claim } = admission.standing(core).await?;
        let joining = Joining { core, admission, ttl_seconds };
        let planned = match claim {
            Some((claim, revision)) => joining.again(&mut reads, &claim, revision).await,
            None => joining.first(&mut reads, grant).await,
        };
        match planned {
            Ok((txn, certificates)) => {
                if reads.commit(txn).await?.is_some() {
                    core.metrics.issued(Issued::Bot, 1);
                    return Ok(certificates);
                }
            }
            Err(refused) if !reads.try_fresh() => return Err(refused),
            Err(_) => {}
        }
    }
}

struct Joining<'a> {
    core: &'a Core,
    admission: &'a Admission,
    ttl_seconds: u64,
}

type Planned = Result<(Txn, Certificates), Refused>;

impl Joining<'_> {
    async fn first(&self, reads: &mut Reads<'_>, grant: Result<Grant, NoGrant>) -> Planned {
        let Self { core, admission, .. } = self;
        let grant = grant?;
        let Grant::Stored(token, _) = &grant else { return Err(Refused::token("it is no bot's token")) };
        let Some(name) = &token.spec.bot_name else { return Err(Refused::token("the token names no bot")) };
        let id = InstanceId(uuid::Uuid::new_v4());
        let bot = self.bot(reads, name, id).await?;
        refuse_bound_key(core, &admission.fingerprint, None).await?;
        let certificates = self.certificates(&bot, id)?;
        let until = Claim::until(grant.expires(), core.now());
        let claim = Claim::Bot { bot: name.clone(), instance: id, until };
        let first = (admission.fingerprint.as_str(), certificates.expires());
        let instance = Instance::joined(name, id, first, &self.seen(), admission.claim_key());
        let txn = admission.spend(&grant, &claim, true).expect(instance.key(), Expect::Absent);
        let owner = format!("bot/{name}/{id}");
        let txn = enrol::bind_key(instance.put(txn), &admission.fingerprint, &owner, certificates.expires());
        Ok((self.recorded(txn, &bot, id, &certificates), certificates))
    }

    /// The same attempt again: its answer was lost. Once the instance has renewed, it has had its answer, and whoever
    /// repeats the attempt then is not it.
    async fn again(&self, reads: &mut Reads<'_>, claim: &Claim, revision: Revision) -> Planned {
        let Self { core, admission, .. } = self;
        let Claim::Bot { bot: name, instance: id, .. } = claim else {
            return Err(Refused::token("the attempt was made by a host"));
        };
        let bot = self.bot(reads, name, *id).await?;
        let certificates = self.certificates(&bot, *id)?;
        let first = (admission.fingerprint.as_str(), certificates.expires());
        let key = layout::instance(name, *id);
        // Removed, perhaps because the token had leaked: whoever has the attempt must not bring it back.
        let Some(entry) = core.catalog.read(&key).await? else {
            return Err(Refused::token("the instance of this attempt was removed"));
        };
        let mut instance = Instance::read(&entry).map_err(Problem::from)?;
        if !instance.lineage.is_first() || instance.lineage.confirmed().key != first.0 {
            return Err(Refused::token("the instance of this attempt has renewed since"));
        }
        instance.lineage = Lineage::first(first.0, first.1);
        instance.remember(&self.seen());
        let txn = Txn::new()
            .expect(admission.claim_key(), Expect::Revision(revision))
            .expect(key, Expect::Revision(entry.revision));
        let bound = layout::subject_key(&admission.fingerprint);
        let txn = instance.put(txn).put_until(bound, format!("bot/{name}/{id}"), certificates.expires());
        Ok((self.recorded(txn, &bot, *id, &certificates), certificates))
    }

    async fn bot(&self, reads: &mut Reads<'_>, name: &BotName, id: InstanceId) -> Result<Arc<Bot>, Refused> {
        let Some(bot) = reads.bot(name).await? else {
            return Err(Refused::token(format!("the bot \"{name}\" of the token does not exist")));
        };
        let user = access::bot::user_of(&bot);
        let subject = LockSubject {
            user: Some(&user.name),
            roles: &user.spec.roles,
            bot_instance_id: Some(id),
            ..LockSubject::default()
        };
        reads.refuse_locked(&subject).await?;
        Ok(bot)
    }

    fn certificates(&self, bot: &Bot, id: InstanceId) -> Result<Certificates, Refused> {
        let Self { core, admission, ttl_seconds } = self;
        let identity = own_identity(core, bot, id, 1, &admission.caller);
        let lifetime = lifetime::of_bot(*ttl_seconds, bot.max_session_ttl);
        core.note_shorter(&admission.caller, *ttl_seconds, lifetime);
        Ok(core.issuer.issue(&identity, &admission.key, lifetime, &[], core.now())?)
    }

    fn seen(&self) -> Seen<'_> {
        Seen { at: self.core.now(), token: Some(&self.admission.token_name), from: self.admission.from() }
    }

    fn recorded(&self, txn: Txn, bot: &Bot, id: InstanceId, certificates: &Certificates) -> Txn {
        let Self { core, admission, .. } = self;
        let event = Event::new(kind::BOT_JOIN)
            .user(&bot.name.resource_name(), UserKind::Bot)
            .with("bot_name", bot.name.as_str())
            .with("bot_instance_id", id.to_string())
            .with("method", "token")
            .with("token_name", admission.safe_token_name())
            .succeeded();
        let event = admission.caller.locate(event);
        let identity = own_identity(core, bot, id, 1, &admission.caller);
        txn.event(core.audit().record(event)).event(core.issued(&admission.caller, &identity, certificates))
    }
}

/// What the own certificate of an instance says: it is the bot, may renew itself and ask for its outputs, and nothing
/// else; it logs in nowhere.
pub fn own_identity(core: &Core, bot: &Bot, id: InstanceId, generation: u64, caller: &Caller) -> Identity {
    let user = access::bot::user_of(bot);
    Identity {
        cluster: core.cluster.clone(),
        subject: Subject::User(Box::new(UserIdentity {
            name: user.name,
            bot: Some(BotIdentity { name: bot.name.clone(), instance: id, generation: Some(generation) }),
            roles: user.spec.roles,
            traits: user.spec.traits,
            logins: vec![],
            permits: Permits::default(),
            impersonator: None,
            renewable: true,
            disallow_reissue: false,
            login_ip: caller.ip(),
            pinned_ip: None,
        })),
    }
}
