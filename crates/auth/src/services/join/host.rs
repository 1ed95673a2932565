//! A node or a proxy joins.

use super::Refused;
use super::admission::{Admission, Grant, NoGrant, Standing};
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
use access::{HostId, SystemRole};
use api::status::{Class, Problem};
use api::v1::HostDetails;
use futures_util::future::try_join_all;
use identity::key::PublicKey;
use identity::{HostIdentity, Identity, Subject};
use store::{Expect, Revision, Txn};

/// Certificates for a new host, or again for the one that this attempt enrolled.
pub async fn admit(
    core: &Core,
    admission: &Admission,
    details: &HostDetails,
) -> Result<Certificates, Refused> {
    let id: HostId = details
        .host_id
        .parse()
        .map_err(|_| Refused::unproven(refusal::invalid("the host id is not a UUID")))?;
    let role = admission.proven.role();
    let ssh_key = issuer::ssh_key(details).map_err(Refused::unproven)?;
    let wish = Wish { id, role, hostname: &details.hostname, principals: &details.principals };
    let mut reads = Reads::new(&core.catalog);
    loop {
        let Standing { grant, claim } = admission.standing(core).await?;
        let joining = Joining { core, admission, wish, ssh_key: ssh_key.as_ref() };
        let planned = match claim {
            Some((claim, revision)) => joining.again(&mut reads, &claim, revision).await,
            None => joining.first(&mut reads, grant).await,
        };
        match planned {
            Ok((txn, certificates)) => {
                if reads.commit(txn).await?.is_some() {
                    core.metrics.issued(Issued::Host, 1);
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
    wish: Wish<'a>,
    /// The key of its SSH server, if it is apart.
    ssh_key: Option<&'a PublicKey>,
}

type Planned = Result<(Txn, Certificates), Refused>;

impl Joining<'_> {
    async fn first(&self, reads: &mut Reads<'_>, grant: Result<Grant, NoGrant>) -> Planned {
        let Self { core, admission, wish, .. } = *self;
        let grant = grant.map_err(|none| admission.no_grant(none))?;
        let names = self.names()?;
        self.refuse_locked(reads).await?;
        let expect = self.refuse_taken_id(&grant).await?;
        self.refuse_bound_keys().await?;
        let until = Claim::until(grant.expires(), core.now());
        let claim = Claim::Host { id: wish.id, role: wish.role, until };
        let txn = admission.spend(&grant, &claim, false).expect(Host::key_of(wish.id, wish.role), expect);
        self.enrolled(txn, &names, &[]).await
    }

    /// The same attempt again: its answer was lost.
    async fn again(&self, reads: &mut Reads<'_>, claim: &Claim, revision: Revision) -> Planned {
        let Self { core, admission, wish, .. } = *self;
        match claim {
            Claim::Host { id, role, .. } if (*id, *role) == (wish.id, wish.role) => {}
            _ => return Err(Refused::token("the attempt was made for another host")),
        }
        let names = self.names()?;
        self.refuse_locked(reads).await?;
        let Some(entry) = core.catalog.read(&Host::key_of(wish.id, wish.role)).await? else {
            return Err(Refused::token("the host of this attempt is no longer enrolled"));
        };
        let known = Host::read(&entry).map_err(Problem::from)?;
        if known.key != admission.fingerprint || known.previous.is_some() {
            return Err(Refused::token("the host of this attempt has renewed since"));
        }
        // Who holds the key of the attempt could renew with any SSH key: another than before changes nothing.
        self.refuse_bound_keys().await?;
        let txn = Txn::new()
            .expect(admission.claim_key(), Expect::Revision(revision))
            .expect(entry.key, Expect::Revision(entry.revision));
        self.enrolled(txn, &names, &known.names).await
    }

    fn names(&self) -> Result<Vec<String>, Refused> {
        host_names::names(&self.wish, &self.core.cluster).map_err(|refused| name_problem(&refused).into())
    }

    async fn refuse_locked(&self, reads: &mut Reads<'_>) -> Result<(), Refused> {
        let subject = LockSubject { server_id: Some(self.wish.id), ..LockSubject::default() };
        Ok(reads.refuse_locked(&subject).await?)
    }

    /// Neither of its keys may be somebody else's.
    async fn refuse_bound_keys(&self) -> Result<(), Problem> {
        let Self { core, admission, wish, ssh_key } = *self;
        let me = owner(wish.id, wish.role);
        refuse_bound_key(core, &admission.fingerprint, Some(&me)).await?;
        match ssh_key {
            Some(key) => refuse_bound_key(core, &key.fingerprint(), Some(&me)).await,
            None => Ok(()),
        }
    }

    /// An id belongs to whoever enrolled it. The services of one process share it, and with it their names: they prove it
    /// by a secret that no token and no list of hosts tells.
    async fn refuse_taken_id(&self, grant: &Grant) -> Result<Expect, Refused> {
        let Self { core, admission, wish, .. } = self;
        let mut expect = Expect::Absent;
        for entry in core.catalog.all(layout::host_roles(wish.id)).await? {
            let known = Host::read(&entry).map_err(Problem::from)?;
            let same_key = known.key == admission.fingerprint;
            let same_process =
                known.role != wish.role && known.process == admission.proven.process().to_string();
            if !(same_key || same_process || grant.is_local()) {
                let reason = format!("the host id {} is enrolled already, as a {}", wish.id, known.role);
                let problem = Problem::new(Class::Denied, "host_id_taken", reason);
                let way = format!("tctl rm node/{}", wish.id);
                return Err(problem.hint(format!("free it with {way}, or remove host_uuid here")).into());
            }
            if known.role == wish.role {
                expect = Expect::Revision(entry.revision);
            }
        }
        Ok(expect)
    }

    /// Signs, and completes the transaction. `had` are the names in the host's present certificate.
    async fn enrolled(&self, txn: Txn, names: &[String], had: &[String]) -> Planned {
        let Self { core, admission, wish, ssh_key } = *self;
        let identity = identity_of(core, wish.id, wish.role, names.to_vec());
        let certificates =
            core.issuer.issue_host(&identity, HostKeys { tls: &admission.key, ssh: ssh_key }, core.now())?;
        let host = Host {
            id: wish.id,
            role: wish.role,
            key: admission.fingerprint.clone(),
            previous: None,
            names: names.to_vec(),
            expires: certificates.expires(),
            from: admission.caller.ip(),
            process: admission.proven.process().to_string(),
        };
        let me = Owner { id: wish.id, role: wish.role, from: host.from, bot: None };
        let taking = Taking { me: &me, names, had, joins: true, until: host.expires };
        let txn = taking.add_to(core, txn).await?;
        let bound = layout::subject_key(&admission.fingerprint);
        let txn = host.put(txn).put_until(bound, owner(wish.id, wish.role), host.expires);
        let txn = txn.event(core.audit().record(self.event()));
        Ok((txn.event(core.issued(&admission.caller, &identity, &certificates)), certificates))
    }

    fn event(&self) -> Event {
        let Self { admission, wish, .. } = self;
        let event = Event::new(kind::INSTANCE_JOIN)
            .with("host_id", wish.id.to_string())
            .with("node_name", wish.hostname)
            .with("role", wish.role.as_str())
            .with("method", "token")
            .with("token_name", admission.safe_token_name())
            .succeeded();
        admission.caller.locate(event)
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
    /// When they are free again.
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
            if let Some(entry) = entry {
                self.refuse_taken(core, name, &Owner::read(&entry)?)?;
            }
            txn = txn.expect(key.clone(), expect);
            if role == self.me.role {
                txn = txn.put_until(key, value.clone(), self.until);
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
        NameRefusal::Reserved(_) | NameRefusal::Taken { .. } => Class::Denied,
    };
    Problem::new(class, refused.code(), refused.to_string())
}
