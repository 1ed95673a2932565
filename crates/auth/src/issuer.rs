//! The authorities of the running cluster, and certificates in the form in which they are answered.

use crate::refusal;
use access::ClusterName;
use access::resource::cert_authority::{CaKind, Rotation};
use api::convert;
use api::status::{Class, Problem};
use api::v1;
use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use ca::{
    Authorities, Extra, HOST_LIFETIME, IssueError, Issued, JwtOrder, JwtSvid, Order, X509Order, X509Svid,
};
use identity::Identity;
use identity::key::PublicKey;
use identity::svid::WorkloadTrust;
use identity::trust::TrustBundle;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Signs for the cluster.
pub struct Issuer {
    authorities: ArcSwap<Authorities>,
    trust: watch::Sender<Arc<TrustBundle>>,
    /// The same as it is answered: made once, not with each certificate.
    message: Arc<v1::TrustBundle>,
    workloads: Arc<WorkloadTrust>,
    rng: SystemRandom,
}

/// The keys of a host.
#[derive(Debug, Clone, Copy)]
pub struct HostKeys<'a> {
    /// For TLS; it makes the host who it is towards auth.
    pub tls: &'a PublicKey,
    /// For SSH, if that is another one.
    pub ssh: Option<&'a PublicKey>,
}

/// A pair of certificates and whom to trust, ready to be answered.
pub struct Certificates {
    issued: Issued,
    trust: Arc<v1::TrustBundle>,
}

impl Issuer {
    /// With these authorities, as of a revision of the store.
    pub fn new(authorities: Authorities, revision: i64) -> Self {
        let trust = authorities.trust_bundle(revision);
        let message = Arc::new(convert::trust_message(&trust));
        let workloads = Arc::new(authorities.workload_trust(revision));
        let (authorities, trust) = (ArcSwap::from_pointee(authorities), watch::Sender::new(Arc::new(trust)));
        Self { authorities, trust, message, workloads, rng: SystemRandom::new() }
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterName {
        self.authorities.load().cluster().clone()
    }

    /// Whom everybody trusts, now.
    pub fn trust(&self) -> Arc<TrustBundle> {
        self.trust.borrow().clone()
    }

    /// The line of the key that signs the SSH certificates of hosts now.
    pub fn host_signer(&self) -> String {
        let signer = self.authorities.load().ssh_signer(CaKind::Host);
        signer.and_then(|key| key.to_openssh().ok()).unwrap_or_default()
    }

    /// Follows [`Self::trust`].
    pub fn trust_changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.trust.subscribe()
    }

    /// Whom everybody trusts for workloads, now.
    pub fn workload_trust(&self) -> &WorkloadTrust {
        &self.workloads
    }

    /// Where the rotation of an authority stands.
    pub fn rotation(&self, kind: CaKind) -> Rotation {
        self.authorities.load().rotation(kind).clone()
    }

    /// Certificates for an identity over a key. Whoever calls has seen to it that the caller may have them; whoever releases them has committed the
    /// event that says so.
    pub fn issue(
        &self,
        identity: &Identity,
        public_key: &PublicKey,
        lifetime: Duration,
        extra: &[Extra],
        now: Timestamp,
    ) -> Result<Certificates, Problem> {
        self.certify(&Order { identity, public_key, ssh_public_key: None, lifetime, extra }, now)
    }

    /// The same for a host, by its keys.
    pub fn issue_host(
        &self,
        identity: &Identity,
        keys: HostKeys<'_>,
        now: Timestamp,
    ) -> Result<Certificates, Problem> {
        let HostKeys { tls: public_key, ssh: ssh_public_key } = keys;
        self.certify(
            &Order { identity, public_key, ssh_public_key, lifetime: HOST_LIFETIME, extra: &[] },
            now,
        )
    }

    fn certify(&self, order: &Order<'_>, now: Timestamp) -> Result<Certificates, Problem> {
        let issued = self.authorities.load().issue(order, now, &self.rng).map_err(problem)?;
        Ok(Certificates { issued, trust: self.message.clone() })
    }

    /// An X.509-SVID. Whoever releases it has committed the event that says so.
    pub fn x509_svid(&self, order: &X509Order<'_>, now: Timestamp) -> Result<X509Svid, Problem> {
        self.authorities.load().issue_x509_svid(order, now, &self.rng).map_err(problem)
    }

    /// A JWT-SVID. Whoever releases it has committed the event that says so.
    pub fn jwt_svid(&self, order: &JwtOrder<'_>, now: Timestamp) -> Result<JwtSvid, Problem> {
        self.authorities.load().issue_jwt_svid(order, now, &self.rng).map_err(problem)
    }

    /// The signature over a policy that nodes and proxies check.
    pub fn sign_policy(&self, payload: &[u8]) -> Result<Vec<u8>, Problem> {
        self.authorities.load().sign_policy(payload).map_err(problem)
    }
}

impl Certificates {
    /// The SSH certificate and the X.509 chain.
    pub fn issued(&self) -> &Issued {
        &self.issued
    }

    /// When they end.
    pub fn expires(&self) -> Timestamp {
        self.issued.valid_before
    }

    /// In both.
    pub fn serial(&self) -> u64 {
        self.issued.serial
    }

    /// The answer to a bot about a server that it looks after: nothing by which one could be a member of the cluster.
    pub fn ssh_message(&self) -> v1::HostCertificate {
        v1::HostCertificate {
            ssh_certificate: self.issued.ssh.line(),
            trust: Some(v1::TrustBundle::clone(&self.trust)),
        }
    }

    /// The answer.
    pub fn message(&self) -> v1::Credentials {
        v1::Credentials {
            ssh_certificate: self.issued.ssh.line(),
            tls_certificates: self.issued.tls_chain.iter().map(|der| der.to_vec()).collect(),
            trust: Some(v1::TrustBundle::clone(&self.trust)),
        }
    }
}

fn problem(error: IssueError) -> Problem {
    match error {
        IssueError::AuthorityKey | IssueError::Key(_) => {
            Problem::new(Class::Invalid, "key_refused", error.to_string()).hint("generate a new key")
        }
        IssueError::Identity(_)
        | IssueError::Lifetime(_)
        | IssueError::ReservedExtension(_)
        | IssueError::TwoKeys
        | IssueError::Workload(_) => Problem::new(Class::Invalid, "certificate_refused", error.to_string()),
        IssueError::OtherCluster { .. } | IssueError::Signing(_) | IssueError::Check(_) => {
            refusal::internal("a certificate could not be issued", error)
        }
    }
}

/// A key from a request.
pub fn public_key(der: &[u8]) -> Result<PublicKey, Problem> {
    PublicKey::from_spki_der(der).map_err(|error| {
        Problem::new(Class::Invalid, "key_refused", error.to_string()).hint("generate a P-256 key")
    })
}

/// The key of a host's SSH server from a request, if it is apart.
pub fn ssh_key(details: &v1::HostDetails) -> Result<Option<PublicKey>, Problem> {
    match details.ssh_public_key.as_slice() {
        [] => Ok(None),
        der => public_key(der).map(Some),
    }
}
