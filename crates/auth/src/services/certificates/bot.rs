//! The next generation of a bot's own identity: prepared, then confirmed.

use super::Bearer;
use super::incident::{Incident, Whose};
use crate::caller::Caller;
use crate::catalog::Reads;
use crate::core::Core;
use crate::enrol;
use crate::enrol::instance::{Instance, Seen};
use crate::enrol::lineage::{Mismatch, Renewal};
use crate::issuer::{self, Certificates};
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use crate::services::join::{Own, own_identity, refuse_bound_key};
use crate::tokens::Tokens;
use access::rbac::lock::LockSubject;
use access::resource::Bot;
use access::resource::token::JoinMethod;
use api::status::{Class, Problem};
use api::v1;
use identity::key::PublicKey;
use join::bound_keypair::{self, Holder};
use std::sync::Arc;
use store::{Expect, Revision, Txn};

/// Prepares a renewal, or repeats the one that was prepared.
pub async fn renew(
    core: &Core,
    caller: &Caller,
    request: &v1::RenewBotRequest,
) -> Result<v1::Credentials, Problem> {
    let bearer = Bearer::of(caller)?;
    if !bearer.bot.renewable {
        let reason = "this certificate is renewed by joining again, by the method that it came from";
        let problem = Problem::new(Class::Denied, "not_renewable", reason);
        super::refused(core, caller, &problem).await;
        return Err(problem.hint("use a tbot that knows this join method"));
    }
    let key = issuer::public_key(&request.public_key)?;
    let mut reads = Reads::new(&core.catalog);
    loop {
        let (instance, revision) = bearer.instance(core).await?;
        let (bearer, key, ttl_seconds) = (&bearer, &key, request.ttl_seconds);
        let renewing = Renewing { core, caller, bearer, key, ttl_seconds, by: None };
        match renewing.plan(&mut reads, instance, revision).await {
            Ok((txn, certificates)) => {
                if reads.commit(txn).await?.is_some() {
                    core.metrics.issued(Issued::Bot, 1);
                    return Ok(certificates.message());
                }
            }
            Err(Stop::Incident(instance, mismatch)) => {
                return Err(renewing.incident(&instance, revision, mismatch).lock().await);
            }
            Err(Stop::Refused(problem)) if !reads.try_fresh() => {
                super::refused(core, caller, &problem).await;
                return Err(problem);
            }
            Err(Stop::Refused(_)) => {}
        }
    }
}

/// The new generation is in force: its bearer has stored it.
pub async fn confirm(core: &Core, caller: &Caller) -> Result<(), Problem> {
    let bearer = Bearer::of(caller)?;
    loop {
        let (mut instance, revision) = bearer.instance(core).await?;
        let lineage = instance.lineage.confirm(bearer.presented()).map_err(stale)?;
        let is_newest = instance.lineage.newest().key == bearer.presented().key;
        let answered = answered(core, &instance, is_newest).await?;
        if lineage.is_none() && answered.is_none() {
            return Ok(());
        }
        let mut txn = answered.unwrap_or_default().expect(instance.key(), Expect::Revision(revision));
        if let Some(lineage) = lineage {
            instance.lineage = lineage;
            txn = instance.put(txn);
        }
        if core.catalog.commit(txn).await?.is_ok() {
            return Ok(());
        }
    }
}

/// The forgetting of the attempt by which the holder of a bound key became this instance: its answer has arrived, and whoever
/// repeats the attempt from now on is somebody else. With its newest certificate it has kept the key that it offered.
async fn answered(core: &Core, instance: &Instance, is_newest: bool) -> Result<Option<Txn>, Problem> {
    let last = instance.resource.status.latest_authentications.last();
    let Some(last) = last.filter(|last| last.join_method == JoinMethod::BoundKeypair.as_str()) else {
        return Ok(None);
    };
    let holder = Holder::Bot(instance.resource.spec.instance_id);
    holder_answered(core, &last.join_token, holder, is_newest).await
}

/// What the token of a bound key forgets when its holder has shown that it has its answer.
pub async fn holder_answered(
    core: &Core,
    token: &str,
    holder: Holder,
    has_kept_key: bool,
) -> Result<Option<Txn>, Problem> {
    let key = Tokens::key(token);
    let Some(entry) = core.catalog.read(&key).await? else { return Ok(None) };
    let mut token = core.tokens.open(&entry)?;
    let Some(status) = token.status.as_deref_mut().filter(|status| holder.is_in(status)) else {
        return Ok(None);
    };
    let before = status.clone();
    status.unconfirmed_attempt = None;
    if has_kept_key {
        bound_keypair::replace_key(status, core.now());
    }
    if *status == before {
        return Ok(None);
    }
    Ok(Some(core.tokens.put(Txn::new().expect(key, Expect::Revision(entry.revision)), &token)))
}

/// A certificate of a generation that was left behind, where that alone is no proof of a copy: a call may have been
/// under way while the instance renewed.
pub fn stale(mismatch: Mismatch) -> Problem {
    Problem::new(Class::Denied, "generation_stale", mismatch.to_string())
        .hint("reconnect with the newest certificate of this instance")
}

/// Why there is no next generation.
pub enum Stop {
    /// Two are running on one identity.
    Incident(Box<Instance>, Mismatch),
    /// Anything else.
    Refused(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// An instance gets its next generation.
pub struct Renewing<'a> {
    /// The service.
    pub core: &'a Core,
    /// The instance.
    pub caller: &'a Caller,
    /// What its certificate says.
    pub bearer: &'a Bearer<'a>,
    /// The key of the next generation.
    pub key: &'a PublicKey,
    /// As it was asked for.
    pub ttl_seconds: u64,
    /// The method and the token, where the instance renews by joining again.
    pub by: Option<(JoinMethod, &'a str)>,
}

impl<'a> Renewing<'a> {
    /// What is to be locked.
    pub fn incident(&self, instance: &Instance, revision: Revision, mismatch: Mismatch) -> Incident<'a> {
        Incident {
            core: self.core,
            caller: self.caller,
            whose: Whose::Bot(self.bearer.bot.name, self.bearer.bot.instance),
            join_token: self.by.map(|(_, token)| token),
            other_addr: instance.last_address().to_owned(),
            presented: self.bearer.bot.generation,
            stored: instance.lineage.newest().number,
            mismatch: mismatch.to_string(),
            judged: (instance.key(), revision),
        }
    }

    /// The lineage is looked at before anything that could end the matter early, so that no other refusal hides a
    /// theft.
    pub async fn plan(
        &self,
        reads: &mut Reads<'_>,
        mut instance: Instance,
        revision: Revision,
    ) -> Result<(Txn, Certificates), Stop> {
        let Self { core, bearer, key, ttl_seconds, .. } = *self;
        let fingerprint = key.fingerprint();
        // How long it will be good for is known only with the bot; the decision does not depend on it.
        let decided = instance.lineage.renew(bearer.presented(), &fingerprint, core.now());
        match decided {
            Ok(_) => {}
            Err(mismatch @ Mismatch::Copied { .. }) => {
                return Err(Stop::Incident(Box::new(instance), mismatch));
            }
            Err(mismatch @ Mismatch::SetBack { .. }) => {
                let problem = Problem::new(Class::Denied, "generation_unknown", mismatch.to_string());
                return Err(problem.hint("join again with a new token: tctl bots instances add").into());
            }
            Err(mismatch @ Mismatch::KeyReused) => {
                return Err(Problem::new(Class::Invalid, "key_reused", mismatch.to_string()).into());
            }
        }
        core.spend(&core.budgets.renewals, self.caller, 1).await?;
        let bot = self.bot(reads).await?;
        let lifetime = lifetime::of_bot(ttl_seconds, bot.max_session_ttl);
        core.note_shorter(self.caller, ttl_seconds, lifetime);
        let end = core.now() + lifetime;
        let renewal = instance.lineage.renew(bearer.presented(), &fingerprint, end);
        let (is_new, lineage) = match renewal {
            Ok(Renewal::Prepare(lineage)) => (true, lineage),
            Ok(Renewal::Repeat(lineage)) => (false, lineage),
            Err(mismatch) => return Err(Stop::Incident(Box::new(instance), mismatch)),
        };
        instance.lineage = lineage;
        let generation = instance.lineage.newest().number;
        let join_token = self.by.map(|(_, token)| token);
        let identity =
            Own { instance: bearer.bot.instance, generation, renewable: self.by.is_none(), join_token };
        let identity = own_identity(core, &bot, identity, self.caller);
        let identity = narrowed(identity, bearer);
        let certificates = core.issuer.issue(&identity, key, lifetime, &[], core.now())?;
        instance.remember(&self.seen());
        let mut txn = Txn::new().expect(instance.key(), Expect::Revision(revision));
        // Whoever renews has had the answer to its join.
        if let Some(claim) = instance.claim.take() {
            txn = txn.delete(claim);
        }
        let txn = instance.put(txn);
        let txn = self.bind(txn, &fingerprint, is_new, &certificates).await?;
        Ok((txn.event(core.issued(self.caller, &identity, &certificates)), certificates))
    }

    async fn bind(
        &self,
        txn: Txn,
        fingerprint: &str,
        is_new: bool,
        certificates: &Certificates,
    ) -> Result<Txn, Problem> {
        let owner = format!("bot/{}/{}", self.bearer.bot.name, self.bearer.bot.instance);
        let until = certificates.expires();
        if is_new {
            refuse_bound_key(self.core, fingerprint, None).await?;
            return Ok(enrol::bind_key(txn, fingerprint, &owner, until));
        }
        Ok(txn.put_until(crate::catalog::layout::subject_key(fingerprint), owner, until))
    }

    async fn bot(&self, reads: &mut Reads<'_>) -> Result<Arc<Bot>, Problem> {
        bot_of(reads, self.bearer).await
    }

    fn seen(&self) -> Seen<'_> {
        let from = self.caller.addr.map(|addr| addr.to_string()).unwrap_or_default();
        let (method, token) = self.by.unzip();
        Seen { at: self.core.now(), method: method.unwrap_or_default(), token, from }
    }
}

/// The bot of an instance, unless it or the instance is locked.
pub async fn bot_of(reads: &mut Reads<'_>, bearer: &Bearer<'_>) -> Result<Arc<Bot>, Problem> {
    let name = bearer.bot.name;
    let Some(bot) = reads.bot(name).await? else {
        return Err(refusal::not_found(access::resource::Kind::Bot, name.as_str()));
    };
    let user = access::bot::user_of(&bot);
    let subject = LockSubject {
        user: Some(&user.name),
        roles: &user.spec.roles,
        bot_instance_id: Some(bearer.bot.instance),
        join_token: bearer.bot.join_token,
        ..LockSubject::default()
    };
    reads.refuse_locked(&subject).await?;
    Ok(bot)
}

/// What the bearer is bound to, the next one is bound to as well.
fn narrowed(mut identity: identity::Identity, bearer: &Bearer<'_>) -> identity::Identity {
    if let identity::Subject::User(user) = &mut identity.subject {
        user.pinned_ip = bearer.user.identity.pinned_ip;
    }
    identity
}
