//! What may be in a certificate. Everything that is refused is refused here, before a key is touched.

use access::ClusterName;
use identity::key::{KeyError, PublicKey};
use identity::verify::MAX_LIFETIME;
use identity::{BadIdentity, Identity, Refusal};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Life of a host's certificate; renewed daily, so a week bridges an auth service that is away for days.
pub const HOST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Certificates are valid from this long ago, for clocks that are a little behind (fact sheet, section 3.1).
pub(crate) const BACKDATE: SignedDuration = SignedDuration::from_mins(1);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Who it is about.
    pub identity: &'a Identity,
    /// The key that it certifies; its possession was proven to whoever orders.
    pub public_key: &'a PublicKey,
    /// For a host whose SSH server signs with another key: that one. The first is then for TLS alone.
    pub ssh_public_key: Option<&'a PublicKey>,
    /// How long it is good for, counted from now.
    pub lifetime: Duration,
    /// More SSH extensions, from the roles' `cert_extensions`.
    pub extra: &'a [Extra],
}

/// One more extension of an SSH certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Its name; none of those that carry an identity.
    pub name: String,
    /// Its value; may be empty.
    pub value: String,
}

/// Why a certificate is not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The identity belongs to another cluster.
    #[error("the identity is of cluster {wanted}, this authority is {own}'s")]
    OtherCluster {
        /// The identity's.
        wanted: ClusterName,
        /// Ours.
        own: ClusterName,
    },
    /// The identity contradicts itself.
    #[error(transparent)]
    Identity(#[from] BadIdentity),
    /// Never for ever, never for nothing.
    #[error(
        "a lifetime of {0:?} is not signed; ask for one second to 7 days for a host, to 31 days for a user"
    )]
    Lifetime(Duration),
    /// An extension that would say who somebody is.
    #[error("the extension {0:?} carries identities and cannot be set by a role")]
    ReservedExtension(String),
    /// The key is the authority's own.
    #[error("the key to certify is an authority's")]
    AuthorityKey,
    /// Only hosts have one key for SSH and another for TLS.
    #[error("a user has one key for SSH and TLS")]
    TwoKeys,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A name of a workload is too long, or one of the audiences is.
    #[error("{0}")]
    Workload(&'static str),
    /// The library failed.
    #[error("signing failed: {0}")]
    Signing(String),
    /// The finished certificate does not say what it should; it was thrown away.
    #[error("the finished certificate was thrown away: {0}")]
    Check(String),
}

impl From<Refusal> for IssueError {
    fn from(refusal: Refusal) -> Self {
        Self::Check(refusal.to_string())
    }
}

/// From when to when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validity {
    pub after: Timestamp,
    pub before: Timestamp,
}

impl Order<'_> {
    /// The key in the SSH certificate.
    pub(crate) fn ssh_key(&self) -> &PublicKey {
        self.ssh_public_key.unwrap_or(self.public_key)
    }

    /// Checks the order and fixes its validity.
    pub(crate) fn decide(&self, own: &ClusterName, now: Timestamp) -> Result<Validity, IssueError> {
        if self.identity.cluster != *own {
            return Err(IssueError::OtherCluster { wanted: self.identity.cluster.clone(), own: own.clone() });
        }
        self.identity.check()?;
        if self.ssh_public_key.is_some() && self.identity.host().is_none() {
            return Err(IssueError::TwoKeys);
        }
        let reserved = |extra: &&Extra| identity::ssh::claims::is_reserved_extension(&extra.name);
        if let Some(extra) = self.extra.iter().find(reserved) {
            return Err(IssueError::ReservedExtension(extra.name.clone()));
        }
        let lifetime =
            SignedDuration::try_from(self.lifetime).map_err(|_| IssueError::Lifetime(self.lifetime))?;
        // Whole seconds, which is what certificates count in.
        let now = Timestamp::from_second(now.as_second()).map_err(|_| IssueError::Lifetime(self.lifetime))?;
        let (after, before) = (now.checked_sub(BACKDATE), now.checked_add(lifetime));
        let host_too_long = self.identity.host().is_some() && self.lifetime > HOST_LIFETIME;
        match (after, before) {
            (Ok(after), Ok(before))
                if lifetime >= SignedDuration::from_secs(1)
                    && !host_too_long
                    && before.duration_since(after) <= MAX_LIFETIME =>
            {
                Ok(Validity { after, before })
            }
            _ => Err(IssueError::Lifetime(self.lifetime)),
        }
    }
}
