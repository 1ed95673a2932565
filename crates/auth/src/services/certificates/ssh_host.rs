//! The certificate of an SSH server that a bot looks after: a host of the cluster to whoever connects to it, and nothing to
//! the cluster itself. The TLS certificate that is made along with it never leaves.
//!
//! A rule says that the bot may have such certificates (`create` on `host_cert`, with `host_cert.principals` in its `where`).
//! Whatever it says, a name that another host has is not given.

use super::issuing::Issuing;
use super::{Bearer, Plan, committed};
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol::host::Host;
use crate::enrol::host_names::{self, Owner};
use crate::issuer::{self, Certificates};
use crate::lifetime;
use crate::metrics::Issued;
use crate::refusal;
use crate::services::join::{Taking, identity_of, name_problem, owner, refuse_bound_key};
use access::rbac::api::ResourceView;
use access::rbac::lock::LockSubject;
use access::rbac::{Verb, api as rules};
use access::resource::Bot;
use access::{HostId, SystemRole};
use api::status::{Class, Problem};
use api::v1;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use identity::key::PublicKey;
use jiff::Timestamp;
use std::collections::BTreeMap;
use store::{Entry, Expect, Txn};

/// What rules call such a certificate.
pub const KIND: &str = "host_cert";

/// Issues one.
pub async fn issue(issuing: Issuing<'_>, request: &v1::HostRequest) -> Result<v1::HostCertificate, Problem> {
    let core = issuing.core;
    let key = issuer::public_key(&request.public_key)?;
    let server = Server { issuing, id: id_of(issuing.bearer), key: &key, request };
    let certificates = committed(core, issuing.caller, &server).await?;
    core.metrics.issued(Issued::Host, 1);
    Ok(certificates.ssh_message())
}

/// The id of the server that an instance looks after: the instance's own, of which there is one on a machine.
pub fn id_of(bearer: &Bearer<'_>) -> HostId {
    HostId(bearer.bot.instance.0)
}

/// How the mark begins that [`kept_by`] makes.
pub const KEPT_BY: &str = "bot/";

/// What the enrolment of a server says of who enrolled it. No process that joins by a token can have such a mark.
pub fn kept_by(bot: &access::BotName) -> String {
    format!("{KEPT_BY}{bot}")
}

struct Server<'a> {
    issuing: Issuing<'a>,
    id: HostId,
    key: &'a PublicKey,
    request: &'a v1::HostRequest,
}

#[async_trait]
impl Plan for Server<'_> {
    type Made = Certificates;

    fn names(&self) -> &[String] {
        &self.request.principals
    }

    async fn plan(&self, reads: &mut Reads<'_>) -> Result<(Txn, Certificates), Problem> {
        let Self { issuing, id, key, request } = self;
        let Issuing { core, caller, .. } = *issuing;
        let (bot, txn) = issuing.begin(reads).await?;
        let names = host_names::of_ssh_server(*id, &request.principals, &core.cluster)
            .map_err(|refused| name_problem(&refused))?;
        if names.is_empty() {
            return Err(refusal::invalid("a host certificate needs at least one name in `principals`"));
        }
        self.allowed(reads, &bot, &names).await?;
        let subject = LockSubject { server_id: Some(*id), ..LockSubject::default() };
        reads.refuse_locked(&subject).await?;
        let fingerprint = key.fingerprint();
        refuse_bound_key(core, &fingerprint, Some(&owner(*id, SystemRole::Node))).await?;
        let lifetime = issuing.within_own(lifetime::of_ssh_server(request.ttl_seconds))?;
        core.note_shorter(caller, request.ttl_seconds, lifetime);
        let identity = identity_of(core, *id, SystemRole::Node, names.clone());
        let certificates = core.issuer.issue(&identity, key, lifetime, &[], core.now())?;
        let until = certificates.expires();
        let host = self.host(&bot, names.clone(), until).await?;
        let me = Owner { id: *id, role: SystemRole::Node, from: caller.ip(), bot: Some(bot.name.clone()) };
        let taking = Taking { me: &me, names: &names, had: &[], joins: false, until };
        let txn = taking.add_to(core, txn).await?;
        let (host, expect) = host;
        let bound = layout::subject_key(&fingerprint);
        let txn = txn.put_until(bound, owner(*id, SystemRole::Node), host.expires);
        let txn = host.put(txn.expect(Host::key_of(*id, SystemRole::Node), expect));
        Ok((txn.event(core.issued(caller, &identity, &certificates)), certificates))
    }
}

impl Server<'_> {
    /// By the roles of the output, whose locks count as well.
    async fn allowed(&self, reads: &mut Reads<'_>, bot: &Bot, names: &[String]) -> Result<(), Problem> {
        let roles = self.issuing.unlocked_roles(reads, bot, &self.request.roles).await?;
        let labels = BTreeMap::new();
        let asked = ResourceView { name: "", labels: &labels, participants: None, principals: Some(names) };
        rules::check(&roles.set, Verb::Create, KIND, Some(asked)).map(drop).map_err(|denial| {
            let hint = "a role of the bot needs the rule {resources: [host_cert], verbs: [create]}, whose where, if it \
                        has one, must hold for every name asked for";
            refusal::denied(&denial).hint(hint)
        })
    }

    /// The server is on record as long as one of its certificates is good, so that nobody else can have its id.
    async fn host(
        &self,
        bot: &Bot,
        names: Vec<String>,
        expires: Timestamp,
    ) -> Result<(Host, Expect), Problem> {
        let core = self.issuing.core;
        let (key, kept) = (Host::key_of(self.id, SystemRole::Node), kept_by(&bot.name));
        let known = match core.catalog.read(&key).await? {
            Some(entry) => Some((Host::read(&entry)?, entry.revision)),
            None => None,
        };
        let fingerprint = self.key.fingerprint();
        let host = Host {
            id: self.id,
            role: SystemRole::Node,
            key: fingerprint.clone(),
            previous: None,
            names,
            held: BTreeMap::new(),
            expires,
            from: self.issuing.caller.ip(),
            process: kept,
            bound_to: None,
        };
        let expect = known.as_ref().map_or(Expect::Absent, |(_, revision)| Expect::Revision(*revision));
        if let Some((known, _)) = &known
            && known.process != host.process
        {
            let reason = format!("the host id {} is enrolled already, as a node", self.id);
            let hint = format!("free it with tctl rm node/{}", self.id);
            return Err(Problem::new(Class::Denied, "host_id_taken", reason).hint(hint));
        }
        let known = known.map(|(known, _)| known);
        let mut host = host.hold(known.as_ref(), core.now()).map_err(|refused| name_problem(&refused))?;
        if let Some(known) = known {
            host.expires = host.expires.max(known.expires);
            host.previous = Some(known.key).filter(|key| *key != fingerprint);
            // Another output of the same instance may have a certificate for other names.
            let more: Vec<String> = known.names.into_iter().chain(known.held.into_keys()).collect();
            for name in held(core, self.id, &more).await? {
                if !host.names.contains(&name) {
                    host.names.push(name);
                }
            }
        }
        Ok((host, expect))
    }
}

/// Those of `names` that a node has now, beside those of every machine.
pub async fn held(core: &Core, id: HostId, names: &[String]) -> Result<Vec<String>, Problem> {
    let reading = names.iter().map(async |name| -> Result<Option<Entry>, Problem> {
        match layout::host_name(SystemRole::Node, name) {
            Ok(key) => core.catalog.read(&key).await,
            Err(_) => Ok(None),
        }
    });
    let found = try_join_all(reading).await?;
    let mut held = Vec::new();
    for (name, entry) in names.iter().zip(found) {
        let own = match entry {
            Some(entry) => Owner::read(&entry)?.id == id,
            None => host_names::owned(std::slice::from_ref(name)).next().is_none(),
        };
        if own {
            held.push(name.clone());
        }
    }
    Ok(held)
}
