//! A stock OpenSSH server in the inventory. It is no member of the cluster: the bot that looks after it speaks for it, under
//! the names of the host certificate that it got for it, and hears what such a server can be told of trust and locks.

use super::revoked::{All, MOST, Revoked};
use super::{Connected, expires};
use crate::caller::{Caller, Host as Server};
use crate::catalog::Reads;
use crate::core::Core;
use crate::enrol::host::Host;
use crate::refusal;
use crate::services::certificates::{Bearer, Issuing, held, id_of, kept_by};
use access::rbac::api::ResourceView;
use access::rbac::lock::{LockSubject, hits, is_in_force};
use access::rbac::{Verb, api as rules};
use access::resource::lock::LockTarget;
use access::resource::{Kind, Node};
use access::{HostId, SystemRole};
use api::convert;
use api::status::{Class, Problem};
use api::v1::SshServerState;
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::Request;

/// The bot that speaks for a server.
#[derive(Debug, Clone)]
pub struct Keeper {
    caller: Caller,
    revoked: Arc<Revoked>,
}

/// The server that the calling bot speaks for.
pub(super) async fn connected<T>(
    core: &Core,
    revoked: &Arc<Revoked>,
    request: &Request<T>,
) -> Result<Connected, Problem> {
    let caller = Caller::of_request(request)?;
    let expires = expires(request)?;
    let bearer = Bearer::of(&caller)?;
    let id = id_of(&bearer);
    let entry = core.catalog.read(&Host::key_of(id, SystemRole::Node)).await?;
    let host = entry.map(|entry| Host::read(&entry)).transpose()?;
    let Some(host) = host.filter(|host| host.process == kept_by(bearer.bot.name)) else {
        let reason = format!("the SSH server {id} has no host certificate that is valid");
        return Err(Problem::new(Class::Denied, "host_unknown", reason).hint("ask for one first"));
    };
    let names = held(core, id, &host.names).await?;
    let key = bearer.key().clone();
    let (from, host) = (caller.ip(), Server { id, role: SystemRole::Node, names, key });
    Ok(Connected { host, from, expires, keeper: Some(Keeper { caller, revoked: revoked.clone() }) })
}

impl Keeper {
    /// What locks may hit beside the server itself, which is told of those.
    pub fn lock_subject(&self) -> LockSubject<'_> {
        self.caller.lock_subject()
    }

    /// Whether the bot may speak for the server; as this node, if it is to be in the inventory. Asked when the stream is on
    /// record: a removal after that ends the stream (see [`super::removed`]).
    pub async fn may_speak(&self, core: &Core, node: Option<&Node>) -> Result<(), Problem> {
        let bearer = Bearer::of(&self.caller)?;
        let issuing = Issuing { core, caller: &self.caller, bearer: &bearer };
        let mut reads = Reads::new(&core.catalog);
        while let Err(problem) = issuing.begin(&mut reads).await {
            if !reads.try_fresh() {
                return Err(problem);
            }
        }
        self.may_still(core, node).await
    }

    /// Whether what the cluster says by now of the bot and its roles lets the stream go on. A refusal is looked up in the store.
    pub async fn may_still(&self, core: &Core, node: Option<&Node>) -> Result<(), Problem> {
        let bearer = Bearer::of(&self.caller)?;
        let issuing = Issuing { core, caller: &self.caller, bearer: &bearer };
        let mut reads = Reads::new(&core.catalog);
        loop {
            match decide(&issuing, &mut reads, node).await {
                Err(_) if reads.try_fresh() => {}
                decided => return decided,
            }
        }
    }

    /// What the server is to be told now.
    pub async fn state(&self, core: &Core, id: HostId, revision: i64) -> Result<SshServerState, Problem> {
        let view = core.catalog.view();
        if let Err(damaged) = view.intact() {
            return Err(refusal::internal("what is locked cannot be read", damaged));
        }
        let now = core.now();
        let (mut key_ids, mut logins, mut told) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let mut last = String::new();
        let mut locked = String::new();
        for found in view.locks.values().filter(|found| is_in_force(&found.value, now)) {
            let LockTarget { user, role, login, server_id, bot_instance_id, join_token } =
                &found.value.spec.target;
            key_ids.extend(user.clone());
            logins.extend(login.clone());
            let server = LockTarget { server_id: server_id.clone(), ..LockTarget::default() };
            if hits(&server, &LockSubject { server_id: Some(id), ..LockSubject::default() }) {
                locked = found.value.denial_text();
            }
            let of_certificates = [role, bot_instance_id, join_token].into_iter().any(Option::is_some);
            if of_certificates {
                told.push(self.revoked.by(core, found, MOST).await?);
                last = found.value.denial_text();
            }
        }
        let All { serials, key_ids: holders, too_many } = All::of(told, MOST);
        key_ids.extend(holders);
        if too_many {
            locked = last;
        }
        Ok(SshServerState {
            trust: Some(convert::trust_message(&core.issuer.trust())),
            refused_key_ids: key_ids.into_iter().collect(),
            refused_serials: serials.into_iter().collect(),
            refused_logins: logins.into_iter().collect(),
            locked,
            revision,
            host_signer: core.issuer.host_signer(),
        })
    }
}

async fn decide(issuing: &Issuing<'_>, reads: &mut Reads<'_>, node: Option<&Node>) -> Result<(), Problem> {
    let bot = issuing.bot(reads).await?;
    // Whoever is in no inventory needs no rule to hear of locks: without them it would let more people in, not fewer.
    let Some(node) = node else { return Ok(()) };
    let roles = issuing.unlocked_roles(reads, &bot, &[]).await?;
    let kind = Kind::Node.as_str();
    for verb in [Verb::Create, Verb::Update] {
        let view = ResourceView::from(&node.metadata);
        rules::check(&roles.set, verb, kind, Some(view)).map_err(|denial| {
            refusal::denied(&denial)
                .hint("a role of the bot needs the rule {resources: [node], verbs: [create, update]}")
        })?;
    }
    Ok(())
}
