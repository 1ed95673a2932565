//! A node or a proxy joins: by the token's name, or by what another method proves.

use super::Refused;
use super::admission::{Admission, Grant, NoGrant, Proof, Standing};
use super::bot::{By, Joined, Planned};
use super::host_bound::Binding;
use super::keyed::Keyed;
use super::tpm;
use super::vouched::Judging;
use crate::audit::{Event, kind};
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol::claim::Claim;
use crate::enrol::host::Host;
use crate::enrol::host_names::{self, Grounds, NameRefusal, Owner, Wish};
use crate::issuer::{self, Certificates, HostKeys};
use crate::metrics::Issued;
use crate::refusal;
use access::rbac::lock::LockSubject;
use access::resource::token::JoinMethod;
use access::{HostId, SystemRole};
use api::status::{Class, Problem};
use api::v1::HostDetails;
use futures_util::future::try_join_all;
use identity::key::PublicKey;
use identity::{HostIdentity, Identity, Subject};
use std::collections::BTreeMap;
use store::{Expect, Revision, Txn};

/// Certificates for a new host, or again for the one that this attempt enrolled.
pub async fn admit(core: &Core, admission: &Admission, details: &HostDetails) -> Result<Joined, Refused> {
    let id: HostId = details
        .host_id
        .parse()
        .map_err(|_| Refused::unproven(refusal::invalid("the host id is not a UUID")))?;
    let role = admission.proven.role();
    let ssh_key = issuer::ssh_key(details).map_err(Refused::unproven)?;
    let wish = Wish { id, role, hostname: &details.hostname, principals: &details.principals };
    let mut reads = Reads::new(&core.catalog);
    loop {
        let standing = admission.standing(core).await?;
        let joining = Joining { core, admission, wish, ssh_key: ssh_key.as_ref() };
        match joining.plan(&mut reads, standing).await {
            Ok((txn, joined)) => {
                if reads.commit(txn).await?.is_some() {
                    core.metrics.issued(Issued::Host, 1);
                    return Ok(joined);
                }
            }
            Err(refused) if refused.settled || !reads.try_fresh() => return Err(refused),
            Err(_) => {}
        }
    }
}

/// A host that joins.
#[derive(Clone, Copy)]
pub struct Joining<'a> {
    /// The service.
    pub core: &'a Core,
    /// What was proven.
    pub admission: &'a Admission,
    /// What it asks for.
    pub wish: Wish<'a>,
    /// The key of its SSH server, if it is apart.
    ssh_key: Option<&'a PublicKey>,
}

/// What is known when a host is enrolled.
#[derive(Default)]
pub struct Enrolment<'a> {
    /// The names in its certificate.
    pub names: &'a [String],
    /// What is known of it.
    pub known: Option<&'a Host>,
    /// Fingerprint of the key of its present certificate, which it shows.
    pub previous: Option<String>,
    /// The token to which its key is bound.
    pub bound_to: Option<String>,
}

impl Joining<'_> {
    async fn plan(&self, reads: &mut Reads<'_>, standing: Standing) -> Planned {
        let Self { core, admission, .. } = *self;
        let Standing { grant, claim } = standing;
        let by = match &admission.proof {
            Proof::Name => {
                By { method: JoinMethod::Token, token_name: admission.safe_token_name(), attributes: vec![] }
            }
            Proof::Bound(shown) => {
                let (token, revision) = admission.stored(&grant)?;
                let keyed = Keyed { core, admission, token, revision, shown };
                return Binding { joining: *self, keyed }.plan(reads).await;
            }
            Proof::Tpm(activated) => tpm::by(core, admission, admission.stored(&grant)?.0, activated)?,
            Proof::Vouched(voucher) => {
                let (token, _) = admission.stored(&grant)?;
                Judging { core, admission, token, voucher }.by().await?
            }
        };
        match claim {
            Some((claim, revision)) => self.again(reads, grant, (&claim, revision), &by).await,
            None => self.first(reads, grant, &by).await,
        }
    }

    async fn first(&self, reads: &mut Reads<'_>, grant: Result<Grant, NoGrant>, by: &By) -> Planned {
        let Self { core, admission, wish, .. } = *self;
        let grant = grant.map_err(|none| admission.no_grant(none))?;
        let names = self.names()?;
        self.refuse_locked(reads, wish.id, by).await?;
        let (expect, known) = self.refuse_taken_id(|_| grant.is_local()).await?;
        self.refuse_bound_keys().await?;
        let (until, vouched) = (Claim::until(grant.expires(), core.now()), by.is_vouched());
        let claim = Claim::Host { id: wish.id, role: wish.role, vouched, until };
        let txn = admission.spend(&grant, &claim, None).expect(Host::key_of(wish.id, wish.role), expect);
        // Names that it had count, but are no reason to have them again.
        let known = known.map(|known| Host { names: vec![], held: known.held_now(), ..known });
        let enrolment = Enrolment { names: &names, known: known.as_ref(), ..Enrolment::default() };
        let (txn, certificates) = self.enrolled(txn, enrolment).await?;
        Ok((txn.event(core.audit().record(self.event(by))), certificates.into()))
    }

    /// The same attempt again: its answer was lost.
    async fn again(
        &self,
        reads: &mut Reads<'_>,
        grant: Result<Grant, NoGrant>,
        (claim, revision): (&Claim, Revision),
        by: &By,
    ) -> Planned {
        let Self { core, admission, wish, .. } = *self;
        match claim {
            Claim::Host { id, role, vouched, .. }
                if (*id, *role) == (wish.id, wish.role) && *vouched == by.is_vouched() => {}
            _ => return Err(admission.refused("the attempt was made for another host, or by another method")),
        }
        let names = self.names()?;
        self.refuse_locked(reads, wish.id, by).await?;
        let Some(entry) = core.catalog.read(&Host::key_of(wish.id, wish.role)).await? else {
            return Err(admission.refused("the host of this attempt is no longer enrolled"));
        };
        let known = Host::read(&entry).map_err(Problem::from)?;
        if known.key != admission.fingerprint || known.previous.is_some() {
            return Err(admission.refused("the host of this attempt has renewed since"));
        }
        // Who holds the key of the attempt could renew with any SSH key: another than before changes nothing.
        self.refuse_bound_keys().await?;
        let mut txn = Txn::new()
            .expect(admission.claim_key(), Expect::Revision(revision))
            .expect(entry.key, Expect::Revision(entry.revision));
        if let (true, Ok(Grant::Stored(_, revision))) = (by.is_vouched(), &grant) {
            // Nobody joins by rules that were changed meanwhile.
            txn = txn.expect(layout::token(admission.proven.token()), Expect::Revision(*revision));
        }
        let enrolment = Enrolment { names: &names, known: Some(&known), ..Enrolment::default() };
        let (txn, certificates) = self.enrolled(txn, enrolment).await?;
        Ok((txn.event(core.audit().record(self.event(by))), certificates.into()))
    }

    /// The names for its certificate.
    pub fn names(&self) -> Result<Vec<String>, Refused> {
        host_names::names(&self.wish, &self.core.cluster).map_err(|refused| name_problem(&refused).into())
    }

    /// No host of this id, and none with this token, joins while it is locked.
    pub async fn refuse_locked(&self, reads: &mut Reads<'_>, id: HostId, by: &By) -> Result<(), Refused> {
        // Locks name tokens only whose names are no secrets.
        let join_token = Some(by.token_name.as_str()).filter(|_| !by.method.has_secret_name());
        let subject = LockSubject { server_id: Some(id), join_token, ..LockSubject::default() };
        Ok(reads.refuse_locked(&subject).await?)
    }

    /// Neither of its keys may be somebody else's.
    pub async fn refuse_bound_keys(&self) -> Result<(), Problem> {
        let Self { core, admission, wish, ssh_key } = *self;
        let me = owner(wish.id, wish.role);
        refuse_bound_key(core, &admission.fingerprint, Some(&me)).await?;
        match ssh_key {
            Some(key) => refuse_bound_key(core, &key.fingerprint(), Some(&me)).await,
            None => Ok(()),
        }
    }

    /// An id belongs to whoever enrolled it. The services of one process share it, and with it their names: they prove it
    /// by a secret that no token and no list of hosts tells. `is_its_own` says that something else has proven it. Gives
    /// what was found for this role.
    pub async fn refuse_taken_id(
        &self,
        is_its_own: impl Fn(&Host) -> bool,
    ) -> Result<(Expect, Option<Host>), Refused> {
        let Self { core, admission, wish, .. } = self;
        let mut present = (Expect::Absent, None);
        for entry in core.catalog.all(layout::host_roles(wish.id)).await? {
            let known = Host::read(&entry).map_err(Problem::from)?;
            let same_key = known.key == admission.fingerprint;
            let same_process =
                known.role != wish.role && known.process == admission.proven.process().to_string();
            if !(same_key || same_process || is_its_own(&known)) {
                let reason = format!("the host id {} is enrolled already, as a {}", wish.id, known.role);
                let problem = Problem::new(Class::Denied, "host_id_taken", reason);
                let way = format!("tctl rm node/{}", wish.id);
                return Err(problem.hint(format!("free it with {way}, or remove host_uuid here")).into());
            }
            if known.role == wish.role {
                present = (Expect::Revision(entry.revision), Some(known));
            }
        }
        Ok(present)
    }

    /// Signs, and completes the transaction.
    pub async fn enrolled(&self, txn: Txn, enrolment: Enrolment<'_>) -> Result<(Txn, Certificates), Refused> {
        let Enrolment { names, known, previous, bound_to } = enrolment;
        let Self { core, admission, wish, ssh_key } = *self;
        let identity = identity_of(core, wish.id, wish.role, names.to_vec());
        let certificates =
            core.issuer.issue_host(&identity, HostKeys { tls: &admission.key, ssh: ssh_key }, core.now())?;
        let host = Host {
            id: wish.id,
            role: wish.role,
            key: admission.fingerprint.clone(),
            previous,
            names: names.to_vec(),
            held: BTreeMap::new(),
            expires: certificates.expires(),
            from: admission.caller.ip(),
            process: admission.proven.process().to_string(),
            bound_to,
        };
        let host = host.hold(known, core.now()).map_err(|refused| name_problem(&refused))?;
        let had = known.map_or(&[][..], |known| &known.names);
        let me = Owner { id: wish.id, role: wish.role, from: host.from, bot: None };
        let taking = Taking { me: &me, names, had, joins: true, until: host.expires };
        let txn = taking.add_to(core, txn).await?;
        let bound = layout::subject_key(&admission.fingerprint);
        let txn = host.put(txn).put_until(bound, owner(wish.id, wish.role), host.expires);
        Ok((txn.event(core.issued(&admission.caller, &identity, &certificates)), certificates))
    }

    /// What is told of the join.
    pub fn event(&self, by: &By) -> Event {
        let Self { admission, wish, .. } = self;
        let event = Event::new(kind::INSTANCE_JOIN)
            .with("host_id", wish.id.to_string())
            .with("node_name", wish.hostname)
            .with("role", wish.role.as_str())
            .with("method", by.method.as_str())
            .with("token_name", by.token_name.as_str())
            .succeeded();
        admission.caller.locate(by.tell(event))
    }
}

/// What a host's certificate says.
pub fn identity_of(core: &Core, id: HostId, role: SystemRole, names: Vec<String>) -> Identity {
    Identity { cluster: core.cluster.clone(), subject: Subject::Host(HostIdentity { id, role, names }) }
}

/// How the owner of a subject key is written.
pub fn owner(id: HostId, role: SystemRole) -> String {
    format!("{}/{id}", role.as_str().to_ascii_lowercase())
}

/// A key that is enrolled for somebody else is refused, whoever proves to hold it.
pub async fn refuse_bound_key(core: &Core, fingerprint: &str, owner: Option<&str>) -> Result<(), Problem> {
    match core.catalog.read(&layout::subject_key(fingerprint)).await? {
        Some(entry) if owner.is_none_or(|owner| *owner.as_bytes() != *entry.value) => {
            let problem = Problem::new(Class::Denied, "key_taken", "this key is enrolled already");
            Err(problem.hint("generate a new key"))
        }
        _ => Ok(()),
    }
}

/// A host takes names.
pub struct Taking<'a> {
    /// The host.
    pub me: &'a Owner,
    /// The names it wants.
    pub names: &'a [String],
    /// The names in its present certificate.
    pub had: &'a [String],
    /// A token vouches for it.
    pub joins: bool,
    /// When they are free again, unless an earlier certificate with one of them lasts longer.
    pub until: jiff::Timestamp,
}

impl Taking<'_> {
    /// Adds it to a transaction, which fails if somebody else takes one of the names meanwhile.
    pub async fn add_to(&self, core: &Core, mut txn: Txn) -> Result<Txn, Problem> {
        let owned: Vec<&String> = host_names::owned(self.names).collect();
        let place = |role, name: &str| {
            layout::host_name(role, name).map_err(|error| refusal::invalid(error.to_string()))
        };
        let mut keys = vec![];
        for name in &owned {
            for role in [SystemRole::Node, SystemRole::Proxy] {
                keys.push((*name, role, place(role, name)?));
            }
        }
        let present = try_join_all(keys.iter().map(|(_, _, key)| core.catalog.read(key))).await?;
        let value = serde_json::to_string(self.me).expect("an owner is a name and an address");
        for ((name, role, key), entry) in keys.into_iter().zip(present) {
            let expect = entry.as_ref().map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
            let mut until = self.until;
            if let Some(entry) = entry {
                self.refuse_taken(core, name, &Owner::read(&entry)?)?;
                until = entry.expires.map_or(until, |present| until.max(present));
            }
            txn = txn.expect(key.clone(), expect);
            if role == self.me.role {
                txn = txn.put_until(key, value.clone(), until);
            }
        }
        Ok(txn)
    }

    fn refuse_taken(&self, core: &Core, name: &String, owner: &Owner) -> Result<(), Problem> {
        let grounds = Grounds {
            has_it: self.had.contains(name),
            joins: self.joins,
            owner_online: core.presence.is_online(owner.id),
        };
        match owner.gives_way_to(self.me, grounds) {
            true => Ok(()),
            false => {
                let (owner, role) = (owner.id, owner.role);
                Err(name_problem(&NameRefusal::Taken { name: name.clone(), owner, role }))
            }
        }
    }
}

/// The answer to a host that does not get its names.
pub fn name_problem(refused: &NameRefusal) -> Problem {
    let class = match refused {
        NameRefusal::Malformed(_) | NameRefusal::TooMany(_) => Class::Invalid,
        NameRefusal::Reserved(_) | NameRefusal::Taken { .. } | NameRefusal::TooManyHeld(_) => Class::Denied,
    };
    Problem::new(class, refused.code(), refused.to_string())
}
