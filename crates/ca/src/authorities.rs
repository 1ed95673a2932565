//! The authorities of a cluster: host, user, openssh, spiffe.

use crate::decide::{HOST_LIFETIME, IssueError, Order};
use crate::keys::{KeyFault, Keys, StoredKeys};
use crate::rotation::{self, Change, IllegalStep};
use crate::sign::{ssh, x509};
use crate::{EnvelopeKey, Issued, SealError, check};
use access::ClusterName;
use access::resource::cert_authority::{CaKind, Rotation, RotationPhase};
use aws_lc_rs::rand::SecureRandom;
use identity::key::PublicKey;
use identity::svid::WorkloadTrust;
use identity::trust::{Authority as Trusted, TrustBundle};
use identity::verify::MAX_LIFETIME;
use identity::{Subject, ssh as ssh_meaning, x509 as x509_meaning};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Everything that signs for a cluster.
pub struct Authorities {
    cluster: ClusterName,
    host: Authority,
    user: Authority,
    openssh: Authority,
    spiffe: Authority,
    /// What was opened lacked one.
    grown: bool,
}

/// One of them.
struct Authority {
    kind: CaKind,
    rotation: Rotation,
    current: Keys,
    /// Made when a rotation begins.
    next: Option<Keys>,
    /// Since when the other keys sign; what the former signed may live on from then.
    switched: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    authorities: Vec<StoredAuthority>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAuthority {
    kind: CaKind,
    rotation: Rotation,
    current: StoredKeys,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<StoredKeys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    switched: Option<Timestamp>,
}

const VERSION: u32 = 1;

impl Authorities {
    /// Fresh ones, for the first start of a cluster.
    pub fn generate(cluster: &ClusterName, now: Timestamp) -> Result<Self, KeyFault> {
        let fresh = |kind| Authority::generate(kind, cluster, now);
        Ok(Self {
            cluster: cluster.clone(),
            host: fresh(CaKind::Host)?,
            user: fresh(CaKind::User)?,
            openssh: fresh(CaKind::Openssh)?,
            spiffe: fresh(CaKind::Spiffe)?,
            grown: false,
        })
    }

    /// As they may lie in a store.
    pub fn seal(&self, key: &EnvelopeKey) -> Result<Vec<u8>, SealError> {
        let authorities = [&self.host, &self.user, &self.openssh, &self.spiffe].map(Authority::stored).into();
        let stored = Stored { version: VERSION, authorities };
        let failed = |error: serde_json::Error| SealError::Content(error.to_string());
        // A buffer that grows leaves copies of the keys where it was; this one has its length from the beginning.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &stored).map_err(failed)?;
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *plain, &stored).map_err(failed)?;
        key.seal(&plain, self.cluster.as_str())
    }

    /// From what [`Self::seal`] gave. A cluster that is older than the authority of workloads gets that one now; see
    /// [`Self::has_grown`].
    pub fn open(
        sealed: &[u8],
        key: &EnvelopeKey,
        cluster: &ClusterName,
        now: Timestamp,
    ) -> Result<Self, SealError> {
        let plain = key.open(sealed, cluster.as_str())?;
        // The text of a parser's error could quote what it read; only its place is told.
        let stored: Stored = serde_json::from_slice(&plain).map_err(|error| {
            SealError::Content(format!("line {} column {}", error.line(), error.column()))
        })?;
        if stored.version != VERSION {
            return Err(SealError::Format);
        }
        let mut opened =
            stored.authorities.into_iter().map(Authority::open).collect::<Result<Vec<_>, _>>()?;
        let mut found = |kind: CaKind| {
            let at = opened.iter().position(|authority| authority.kind == kind);
            at.map(|at| opened.swap_remove(at))
        };
        let spiffe = found(CaKind::Spiffe);
        let mut take = |kind: CaKind| {
            found(kind)
                .ok_or_else(|| SealError::Content(format!("the {} authority is missing", kind.as_str())))
        };
        let (host, user, openssh) = (take(CaKind::Host)?, take(CaKind::User)?, take(CaKind::Openssh)?);
        let grown = spiffe.is_none();
        let spiffe = match spiffe {
            Some(spiffe) => spiffe,
            None => Authority::generate(CaKind::Spiffe, cluster, now)
                .map_err(|fault| SealError::Content(fault.to_string()))?,
        };
        Ok(Self { cluster: cluster.clone(), host, user, openssh, spiffe, grown })
    }

    /// Whether there is one now that was not in what was opened. Then they have to be stored before they sign.
    pub fn has_grown(&self) -> bool {
        self.grown
    }

    /// The cluster they belong to.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// Where a rotation stands.
    pub fn rotation(&self, kind: CaKind) -> &Rotation {
        &self.authority(kind).rotation
    }

    /// The key that signs SSH certificates now; every phase of a rotation trusts it. None for workloads.
    pub fn ssh_signer(&self, kind: CaKind) -> Option<ssh_key::PublicKey> {
        self.authority(kind).signer().ssh_public()
    }

    /// The public halves, as of a revision of the store.
    pub fn trust_bundle(&self, revision: i64) -> TrustBundle {
        let mut bundle = TrustBundle::empty(self.cluster.clone());
        bundle.revision = revision;
        for kind in CaKind::OF_MEMBERS {
            if let Some(place) = bundle.authority_mut(kind) {
                *place = self.authority(kind).trusted();
            }
        }
        bundle
    }

    /// The public halves of the authority of workloads, as of a revision of the store.
    pub fn workload_trust(&self, revision: i64) -> WorkloadTrust {
        let keys = || std::iter::once(&self.spiffe.current).chain(&self.spiffe.next);
        WorkloadTrust {
            cluster: self.cluster.clone(),
            x509: keys().filter_map(|keys| Some(keys.tls()?.certificate.clone())).collect(),
            jwt: keys().filter_map(|keys| Some(keys.jwt()?.public.clone())).collect(),
            revision,
        }
    }

    /// Certificates for an identity: users by the user authority, hosts by the host authority.
    pub fn issue(
        &self,
        order: &Order<'_>,
        now: Timestamp,
        rng: &dyn SecureRandom,
    ) -> Result<Issued, IssueError> {
        let validity = order.decide(&self.cluster, now)?;
        self.refuse_own([order.public_key, order.ssh_key()])?;
        let kind = match &order.identity.subject {
            Subject::User(_) => CaKind::User,
            Subject::Host(_) => CaKind::Host,
        };
        let authority = self.authority(kind);
        let keys = authority.signer();
        let tls = keys.tls().ok_or(IssueError::Signing("the authority has no TLS key".into()))?;
        let serial = u64::from_be_bytes(drawn(rng)?) >> 1;
        let meant = ssh_meaning::Claims::of(order.identity, Uuid::from_bytes(drawn(rng)?));
        let contents = ssh::Contents {
            claims: &meant,
            public_key: order.ssh_key(),
            validity,
            serial,
            nonce: drawn(rng)?,
            extra: order.extra,
        };
        let ssh = ssh::certificate(keys, &contents)?;
        let claims = x509_meaning::Claims::of(order.identity);
        let contents = x509::Contents {
            kind,
            cluster: &self.cluster,
            claims: &claims,
            public_key: order.public_key,
            validity,
            serial,
        };
        let leaf = x509::leaf(tls, &contents)?;
        let (valid_after, valid_before) = (validity.after, validity.before);
        let issued = Issued { ssh, tls_chain: vec![leaf], serial, valid_after, valid_before };
        check::check(&issued, order, &meant, validity, &self.trust_bundle(0), now)?;
        Ok(issued)
    }

    /// The signature that `identity::policy::open` wants for a payload: an SSH signature, its algorithm and then
    /// itself.
    pub fn sign_policy(&self, payload: &[u8]) -> Result<Vec<u8>, IssueError> {
        ssh::signature(self.host.signer(), &identity::policy::sign_statement(payload))
    }

    /// Takes one step of a rotation. The last one drops keys, and waits until nothing that they signed is in
    /// force any more; [`Retire::AtOnce`] does not wait, for keys that may be in other hands.
    pub fn rotate(
        &mut self,
        kind: CaKind,
        to: RotationPhase,
        now: Timestamp,
        retire: Retire,
    ) -> Result<(), RotateError> {
        let cluster = self.cluster.clone();
        let authority = match kind {
            CaKind::Host => &mut self.host,
            CaKind::User => &mut self.user,
            CaKind::Openssh => &mut self.openssh,
            CaKind::Spiffe => &mut self.spiffe,
        };
        authority.rotate(&cluster, to, now, retire)
    }

    /// No authority's key is certified.
    pub(crate) fn refuse_own<const N: usize>(&self, keys: [&PublicKey; N]) -> Result<(), IssueError> {
        let owned = |kind| keys.iter().any(|key| self.authority(kind).owns(key));
        match CaKind::ALL.into_iter().any(owned) {
            true => Err(IssueError::AuthorityKey),
            false => Ok(()),
        }
    }

    /// The keys that sign for workloads now.
    pub(crate) fn workload_signer(&self) -> &Keys {
        self.spiffe.signer()
    }

    fn authority(&self, kind: CaKind) -> &Authority {
        match kind {
            CaKind::Host => &self.host,
            CaKind::User => &self.user,
            CaKind::Openssh => &self.openssh,
            CaKind::Spiffe => &self.spiffe,
        }
    }
}

/// Why a step of a rotation was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// It does not follow.
    #[error(transparent)]
    Step(#[from] IllegalStep),
    /// New keys could not be made.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// Certificates of the keys to be dropped may still be in force.
    #[error(
        "certificates of the keys to be dropped may be in force until {until}; wait, or force it if the keys are lost"
    )]
    StillInUse {
        /// By then the last one has expired.
        until: Timestamp,
    },
}

/// When keys that no longer sign may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// When the last certificate that they can have signed has expired.
    WhenUnused,
    /// Now; those certificates end with them.
    AtOnce,
}

/// Counts what is written and forgets it.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Authority {
    fn generate(kind: CaKind, cluster: &ClusterName, now: Timestamp) -> Result<Self, KeyFault> {
        let current = Keys::generate(kind, cluster, now)?;
        Ok(Self { kind, rotation: Rotation::default(), current, next: None, switched: None })
    }

    fn stored(&self) -> StoredAuthority {
        StoredAuthority {
            kind: self.kind,
            rotation: self.rotation.clone(),
            current: self.current.stored(),
            next: self.next.as_ref().map(Keys::stored),
            switched: self.switched,
        }
    }

    fn open(stored: StoredAuthority) -> Result<Self, SealError> {
        let open = |keys| Keys::open(keys).map_err(|fault| SealError::Content(fault.to_string()));
        Ok(Self {
            kind: stored.kind,
            rotation: stored.rotation,
            current: open(stored.current)?,
            next: stored.next.map(open).transpose()?,
            switched: stored.switched,
        })
    }

    fn rotate(
        &mut self,
        cluster: &ClusterName,
        to: RotationPhase,
        now: Timestamp,
        retire: Retire,
    ) -> Result<(), RotateError> {
        let change = rotation::step(self.rotation.phase, to)?;
        if matches!(change, Change::Complete | Change::Discard) && retire == Retire::WhenUnused {
            self.check_unused(now)?;
        }
        let new_signed = rotation::new_keys_sign(self.kind, self.rotation.phase);
        match change {
            Change::Begin => self.next = Some(Keys::generate(self.kind, cluster, now)?),
            Change::None if new_signed != rotation::new_keys_sign(self.kind, to) => self.switched = Some(now),
            Change::None => {}
            Change::Complete => {
                if let Some(next) = self.next.take() {
                    self.current = next;
                }
                self.rotation.last_rotated = Some(now);
                self.switched = None;
            }
            Change::Discard => (self.next, self.switched) = (None, None),
        }
        self.rotation.phase = to;
        Ok(())
    }

    fn check_unused(&self, now: Timestamp) -> Result<(), RotateError> {
        let Some(switched) = self.switched else { return Ok(()) };
        let longest = match self.kind {
            CaKind::Host => HOST_LIFETIME,
            CaKind::User | CaKind::Openssh => MAX_LIFETIME.unsigned_abs(),
            CaKind::Spiffe => crate::svid::LONGEST_LIFE,
        };
        let until = switched.checked_add(longest).unwrap_or(Timestamp::MAX);
        match now < until {
            true => Err(RotateError::StillInUse { until }),
            false => Ok(()),
        }
    }

    /// Whether it is one of its own keys.
    fn owns(&self, key: &PublicKey) -> bool {
        let mut points = std::iter::once(&self.current).chain(&self.next).flat_map(Keys::points);
        points.any(|point| point == key.point())
    }

    fn signer(&self) -> &Keys {
        let new = self.next.as_ref().filter(|_| rotation::new_keys_sign(self.kind, self.rotation.phase));
        new.unwrap_or(&self.current)
    }

    fn trusted(&self) -> Trusted {
        let keys = || std::iter::once(&self.current).chain(&self.next);
        Trusted {
            ssh: keys().filter_map(Keys::ssh_public).collect(),
            tls: keys().filter_map(|keys| Some(keys.tls()?.certificate.clone())).collect(),
        }
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorities({})", self.cluster)
    }
}

pub(crate) fn drawn<const N: usize>(rng: &dyn SecureRandom) -> Result<[u8; N], IssueError> {
    let mut bytes = [0; N];
    rng.fill(&mut bytes).map_err(|_| IssueError::Signing("the system's randomness failed".into()))?;
    Ok(bytes)
}
