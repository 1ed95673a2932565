//! A bot joins: by spending a token on a new instance of it, or by the proof of another method.

use super::Refused;
use super::admission::{Admission, Grant, NoGrant, Proof, Standing};
use super::bound::Binding;
use super::host::refuse_bound_key;
use super::keyed::Keyed;
use super::tpm;
use super::vouched::{Judging, Vouching};
use crate::audit::{Event, UserKind, kind};
use crate::caller::Caller;
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol::claim::Claim;
use crate::enrol::instance::{Instance, Seen};
use crate::enrol::lineage::Lineage;
use crate::issuer::Certificates;
use crate::lifetime;
use crate::metrics::Issued;
use access::rbac::lock::LockSubject;
use access::resource::token::{JoinMethod, masked};
use access::resource::{Bot, Token};
use access::{BotName, InstanceId};
use api::status::Problem;
use identity::{BotIdentity, Identity, Permits, Subject, UserIdentity};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Expect, Revision, Txn};

/// Certificates for a new instance, or again for the one that this attempt made.
pub async fn admit(core: &Core, admission: &Admission, ttl_seconds: u64) -> Result<Joined, Refused> {
    let mut reads = Reads::new(&core.catalog);
    loop {
        let standing = admission.standing(core).await?;
        let joining = Joining { core, admission, ttl_seconds };
        match joining.plan(&mut reads, standing).await {
            Ok((txn, joined)) => {
                if reads.commit(txn).await?.is_some() {
                    core.metrics.issued(Issued::Bot, 1);
                    return Ok(joined);
                }
            }
            Err(refused) if refused.settled || !reads.try_fresh() => return Err(refused),
            Err(_) => {}
        }
    }
}

/// A bot's instance that joins.
pub struct Joining<'a> {
    /// The service.
    pub core: &'a Core,
    /// What was proven.
    pub admission: &'a Admission,
    /// As it was asked for.
    pub ttl_seconds: u64,
}

/// How an instance joined, as it may be told.
pub struct By {
    /// The method.
    pub method: JoinMethod,
    /// The token; masked where its name is the secret.
    pub token_name: String,
    /// What the rule that let it in found.
    pub attributes: Vec<(&'static str, String)>,
}

impl From<&Token> for By {
    fn from(token: &Token) -> Self {
        Self { method: token.spec.join_method(), token_name: token.safe_name(), attributes: vec![] }
    }
}

impl By {
    /// What is particular to the first certificate of an instance that joined so.
    pub fn own(&self, instance: InstanceId) -> Own<'_> {
        let secret = !self.is_vouched();
        let join_token = (!secret).then_some(self.token_name.as_str());
        Own { instance, generation: 1, renewable: secret, join_token }
    }

    /// Whether the method has to be proven each time, a retry included.
    pub fn is_vouched(&self) -> bool {
        !self.method.has_secret_name()
    }

    /// Adds what let it in to an event.
    pub fn tell(&self, event: Event) -> Event {
        match self.attributes.is_empty() {
            true => event,
            false => {
                let attributes: BTreeMap<_, _> = self.attributes.iter().cloned().collect();
                event.with("attributes", json!(attributes))
            }
        }
    }
}

/// What a joiner gets.
pub struct Joined {
    /// The certificates.
    pub certificates: Certificates,
    /// What it shows the next time, where the method has that.
    pub join_state: Vec<u8>,
    /// Whether the key that it offered is accepted.
    pub key_accepted: bool,
}

impl From<Certificates> for Joined {
    fn from(certificates: Certificates) -> Self {
        Self { certificates, join_state: vec![], key_accepted: false }
    }
}

/// What to commit, and what to answer then.
pub type Planned = Result<(Txn, Joined), Refused>;

impl Joining<'_> {
    async fn plan(&self, reads: &mut Reads<'_>, standing: Standing) -> Planned {
        let Standing { grant, claim } = standing;
        match (&self.admission.proof, claim) {
            (Proof::Name, Some((claim, revision))) => self.again(reads, &claim, revision).await,
            (Proof::Name, None) => self.first(reads, grant).await,
            (Proof::Bound(shown), _) => {
                let (token, revision) = self.admission.stored(&grant)?;
                let keyed = Keyed { core: self.core, admission: self.admission, token, revision, shown };
                Binding { joining: self, keyed }.plan(reads).await
            }
            (Proof::Tpm(activated), claim) => {
                let Self { core, admission, .. } = self;
                let (token, revision) = admission.stored(&grant)?;
                let by = tpm::by(core, admission, token, activated)?;
                Vouching { joining: self, token, revision, claim, by }.plan(reads).await
            }
            (Proof::Vouched(voucher), claim) => {
                let (token, revision) = self.admission.stored(&grant)?;
                let Self { core, admission, .. } = self;
                let by = Judging { core, admission, token, voucher }.by().await?;
                Vouching { joining: self, token, revision, claim, by }.plan(reads).await
            }
        }
    }

    async fn first(&self, reads: &mut Reads<'_>, grant: Result<Grant, NoGrant>) -> Planned {
        let Self { core, admission, .. } = self;
        let grant = grant.map_err(|none| admission.no_grant(none))?;
        let Grant::Stored(token, _) = &grant else { return Err(admission.refused("it is no bot's token")) };
        let Some(name) = &token.spec.bot_name else {
            return Err(admission.refused("the token names no bot"));
        };
        let by = By::from(&**token);
        let id = InstanceId(uuid::Uuid::new_v4());
        let bot = self.refuse_locked(reads, token, id).await?;
        let certificates = self.certificates(&bot, by.own(id))?;
        let until = Claim::until(token.metadata.expires, core.now());
        let claim = Claim::Bot { bot: name.clone(), instance: id, vouched: false, until };
        let first = (admission.fingerprint.as_str(), certificates.expires());
        let instance = Instance::joined(name, id, first, &self.seen(&by), Some(admission.claim_key()));
        let txn = admission.spend(&grant, &claim, Some(core.now())).expect(instance.key(), Expect::Absent);
        let txn = self.bind(instance.put(txn), name, id, certificates.expires()).await?;
        Ok((self.recorded(txn, &by, &bot, id, &certificates), certificates.into()))
    }

    /// The same attempt again: its answer was lost. Once the instance has renewed, it has had its answer, and whoever
    /// repeats the attempt then is not it.
    async fn again(&self, reads: &mut Reads<'_>, claim: &Claim, revision: Revision) -> Planned {
        let Self { core, admission, .. } = self;
        let (name, id) = match claim {
            Claim::Bot { bot, instance, vouched: false, .. } => (bot, instance),
            Claim::Bot { .. } => return Err(admission.refused("the attempt was made by another join method")),
            Claim::Host { .. } => return Err(admission.refused("the attempt was made by a host")),
        };
        let bot = self.bot(reads, name, *id, None).await?;
        let token_name = masked(&admission.token_name);
        let by = By { method: JoinMethod::Token, token_name, attributes: vec![] };
        let certificates = self.certificates(&bot, by.own(*id))?;
        let first = (admission.fingerprint.as_str(), certificates.expires());
        let key = layout::instance(name, *id);
        // Removed, perhaps because the token had leaked: whoever has the attempt must not bring it back.
        let Some(entry) = core.catalog.read(&key).await? else {
            return Err(admission.refused("the instance of this attempt was removed"));
        };
        let mut instance = Instance::read(&entry).map_err(Problem::from)?;
        if !instance.lineage.is_first() || instance.lineage.confirmed().key != first.0 {
            return Err(admission.refused("the instance of this attempt has renewed since"));
        }
        instance.lineage = Lineage::first(first.0, first.1);
        instance.remember(&self.seen(&by));
        let txn = Txn::new()
            .expect(admission.claim_key(), Expect::Revision(revision))
            .expect(key, Expect::Revision(entry.revision));
        let txn = self.bind(instance.put(txn), name, *id, certificates.expires()).await?;
        Ok((self.recorded(txn, &by, &bot, *id, &certificates), certificates.into()))
    }

    /// The bot of a token, unless it, the instance or the token is locked.
    pub async fn refuse_locked(
        &self,
        reads: &mut Reads<'_>,
        token: &Token,
        id: InstanceId,
    ) -> Result<Arc<Bot>, Refused> {
        let Some(name) = &token.spec.bot_name else {
            return Err(self.admission.refused("the token names no bot"));
        };
        // Locks name tokens only whose names are no secrets.
        let named =
            Some(token.metadata.name.as_str()).filter(|_| !token.spec.join_method().has_secret_name());
        self.bot(reads, name, id, named).await
    }

    async fn bot(
        &self,
        reads: &mut Reads<'_>,
        name: &BotName,
        id: InstanceId,
        join_token: Option<&str>,
    ) -> Result<Arc<Bot>, Refused> {
        let Some(bot) = reads.bot(name).await? else {
            return Err(self.admission.refused(format!("the bot \"{name}\" of the token does not exist")));
        };
        let user = access::bot::user_of(&bot);
        let subject = LockSubject {
            user: Some(&user.name),
            roles: &user.spec.roles,
            bot_instance_id: Some(id),
            join_token,
            ..LockSubject::default()
        };
        reads.refuse_locked(&subject).await?;
        Ok(bot)
    }

    /// Binds the certified key to the instance; a key of the same instance may be bound again.
    pub async fn bind(
        &self,
        txn: Txn,
        bot: &BotName,
        id: InstanceId,
        until: Timestamp,
    ) -> Result<Txn, Problem> {
        let fingerprint = &self.admission.fingerprint;
        let owner = format!("bot/{bot}/{id}");
        refuse_bound_key(self.core, fingerprint, Some(&owner)).await?;
        let key = layout::subject_key(fingerprint);
        let present = self.core.catalog.read(&key).await?;
        let expect = present.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        Ok(txn.expect(key.clone(), expect).put_until(key, owner, until))
    }

    /// The first generation of an instance.
    pub fn certificates(&self, bot: &Bot, own: Own<'_>) -> Result<Certificates, Refused> {
        let Self { core, admission, ttl_seconds } = self;
        let identity = own_identity(core, bot, own, &admission.caller);
        let lifetime = lifetime::of_bot(*ttl_seconds, bot.max_session_ttl);
        core.note_shorter(&admission.caller, *ttl_seconds, lifetime);
        Ok(core.issuer.issue(&identity, &admission.key, lifetime, &[], core.now())?)
    }

    /// As it is remembered.
    pub fn seen<'t>(&self, by: &'t By) -> Seen<'t> {
        let token = Some(by.token_name.as_str());
        Seen { at: self.core.now(), method: by.method, token, from: self.admission.from() }
    }

    /// With its events.
    pub fn recorded(&self, txn: Txn, by: &By, bot: &Bot, id: InstanceId, certificates: &Certificates) -> Txn {
        let Self { core, admission, .. } = self;
        let event = Event::new(kind::BOT_JOIN)
            .user(&bot.name.resource_name(), UserKind::Bot)
            .with("bot_name", bot.name.as_str())
            .with("bot_instance_id", id.to_string())
            .with("method", by.method.as_str())
            .with("token_name", by.token_name.as_str())
            .succeeded();
        let event = admission.caller.locate(by.tell(event));
        let identity = own_identity(core, bot, by.own(id), &admission.caller);
        txn.event(core.audit().record(event)).event(core.issued(&admission.caller, &identity, certificates))
    }
}

/// What is particular to the own certificate of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// Its generation.
    pub generation: u64,
    /// Whether it renews by this certificate alone.
    pub renewable: bool,
    /// The token that it joined with, where that one's name is no secret.
    pub join_token: Option<&'a str>,
}

/// What the own certificate of an instance says: it is the bot, may ask for its outputs and, where it came from a one-time
/// token, renew itself, and nothing else; it logs in nowhere.
pub fn own_identity(core: &Core, bot: &Bot, own: Own<'_>, caller: &Caller) -> Identity {
    let user = access::bot::user_of(bot);
    let Own { instance, generation, renewable, join_token } = own;
    Identity {
        cluster: core.cluster.clone(),
        subject: Subject::User(Box::new(UserIdentity {
            name: user.name,
            bot: Some(BotIdentity {
                name: bot.name.clone(),
                instance,
                generation: Some(generation),
                join_token: join_token.map(str::to_owned),
            }),
            roles: user.spec.roles,
            traits: user.spec.traits,
            logins: vec![],
            permits: Permits::default(),
            impersonator: None,
            renewable,
            disallow_reissue: false,
            login_ip: caller.ip(),
            pinned_ip: None,
        })),
    }
}
