//! Whom to trust: the public halves of a cluster's authorities, and pins for those who have none yet.

mod pin;
mod text;

pub use pin::Pin;

use access::ClusterName;
use access::resource::cert_authority::CaKind;
use rustls_pki_types::CertificateDer;

/// The DNS name that every auth service's certificate carries and that its clients ask for.
pub const AUTH_SERVER_NAME: &str = "auth.postern.internal";

/// The keys of one authority; every one is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    /// Sign SSH certificates.
    pub ssh: Vec<ssh_key::PublicKey>,
    /// Sign X.509 certificates; none for the `openssh` authority.
    pub tls: Vec<CertificateDer<'static>>,
}

/// The authorities of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The cluster they belong to.
    pub cluster: ClusterName,
    /// Signs hosts.
    pub host: Authority,
    /// Signs users and bots.
    pub user: Authority,
    /// Signs users towards stock sshd.
    pub openssh: Authority,
    /// The store's revision; a larger one is newer.
    pub revision: i64,
}

/// Why a text or message is not a trust bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The cluster's name is not one.
    #[error("the trust bundle names no cluster: {0}")]
    Cluster(#[from] access::NameError),
    /// An authority of an unknown kind.
    #[error("the trust bundle has an authority of the unknown kind {0:?}")]
    Kind(String),
    /// A key that cannot be an authority's.
    #[error("the {kind} authority has an SSH key that is neither Ed25519 nor P-256")]
    SshKey {
        /// Which authority.
        kind: &'static str,
    },
    /// A certificate that cannot be an authority's.
    #[error("the {kind} authority has a certificate that is no authority's: {reason}")]
    Certificate {
        /// Which authority.
        kind: &'static str,
        /// Why not.
        reason: String,
    },
    /// More keys than any rotation needs.
    #[error("the {kind} authority has more keys than any rotation needs")]
    TooMany {
        /// Which authority.
        kind: &'static str,
    },
    /// Not JSON of the right shape.
    #[error("the trust bundle cannot be read: {0}")]
    Json(String),
}

/// During a rotation there are two; after rollbacks perhaps a few more.
pub(crate) const MAX_KEYS: usize = 16;

impl Authority {
    /// Checks that each key and certificate can be an authority's. Not the signature of a certificate over itself: whoever says whom
    /// to trust could say so of a certificate of his own.
    pub fn check(&self, kind: CaKind) -> Result<(), TrustError> {
        let kind = kind.as_str();
        if self.ssh.len() > MAX_KEYS || self.tls.len() > MAX_KEYS {
            return Err(TrustError::TooMany { kind });
        }
        for key in &self.ssh {
            let blob = key.to_bytes().map_err(|_| TrustError::SshKey { kind })?;
            crate::ssh::key_blob::check_authority(&blob).map_err(|_| TrustError::SshKey { kind })?;
        }
        for certificate in &self.tls {
            crate::x509::parsed::anchor(certificate)
                .map_err(|refusal| TrustError::Certificate { kind, reason: refusal.to_string() })?;
        }
        Ok(())
    }
}

impl TrustBundle {
    /// A bundle that trusts nobody.
    pub fn empty(cluster: ClusterName) -> Self {
        Self {
            cluster,
            host: Authority::default(),
            user: Authority::default(),
            openssh: Authority::default(),
            revision: 0,
        }
    }

    /// One authority. That of workloads is in no bundle of members (see [`crate::svid`]), so that nobody is let in by it.
    pub fn authority(&self, kind: CaKind) -> &Authority {
        static NOBODY: Authority = Authority { ssh: Vec::new(), tls: Vec::new() };
        match kind {
            CaKind::Host => &self.host,
            CaKind::User => &self.user,
            CaKind::Openssh => &self.openssh,
            CaKind::Spiffe => &NOBODY,
        }
    }

    /// One authority, to be changed, if it has its place here.
    pub fn authority_mut(&mut self, kind: CaKind) -> Option<&mut Authority> {
        match kind {
            CaKind::Host => Some(&mut self.host),
            CaKind::User => Some(&mut self.user),
            CaKind::Openssh => Some(&mut self.openssh),
            CaKind::Spiffe => None,
        }
    }

    /// What a joiner may be given to recognise this cluster by: one pin for each TLS host authority.
    pub fn pins(&self) -> Vec<Pin> {
        self.host.tls.iter().filter_map(|certificate| Pin::of(certificate).ok()).collect()
    }

    /// Checks every authority.
    pub fn check(&self) -> Result<(), TrustError> {
        CaKind::OF_MEMBERS.into_iter().try_for_each(|kind| self.authority(kind).check(kind))
    }
}
