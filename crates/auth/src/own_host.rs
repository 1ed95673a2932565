//! Auth's own certificate as a host: made in memory at the start, renewed daily.

use crate::bootstrap::{Cluster, StartError};
use crate::caller::{Caller, Who};
use crate::core::Core;
use crate::issuer::HostKeys;
use access::{HostPort, SystemRole};
use aws_lc_rs::rand::SystemRandom;
use identity::key::SubjectKey;
use identity::{Credentials, HostIdentity, Identity, Subject};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use transport::tls::LiveCredentials;

const DAILY: Duration = Duration::from_secs(24 * 3600);

/// Who auth is, as a host.
#[derive(Debug, Clone)]
pub struct OwnHost(Identity);

impl OwnHost {
    /// Of this cluster, reached at these addresses beside the name that every auth has.
    pub fn new(cluster: &Cluster, public: &[HostPort]) -> Self {
        let mut names: Vec<String> = public.iter().map(|addr| addr.host().to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        let host = HostIdentity { id: cluster.auth_id, role: SystemRole::Auth, names };
        Self(Identity { cluster: cluster.name.clone(), subject: Subject::Host(host) })
    }

    /// A fresh key and certificates over it.
    pub async fn credentials(&self, core: &Core) -> Result<Credentials, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::OwnCertificate(error.to_string());
        let key = SubjectKey::generate(&SystemRandom::new()).map_err(|error| failed(&error))?;
        let issued = core
            .issuer
            .issue_host(&self.0, HostKeys { tls: key.public(), ssh: None }, core.now())
            .map_err(|problem| failed(&problem))?;
        let auth = Caller { who: Who::LocalAdmin { uid: 0 }, addr: None };
        let record = core.issued(&auth, &self.0, &issued);
        core.catalog.engine.append(vec![record]).await?;
        let (issued, trust) = (issued.issued().clone(), core.issuer.trust());
        Credentials::new(key, issued.ssh, issued.tls_chain, (*trust).clone()).map_err(|error| failed(&error))
    }

    /// Keeps credentials fresh until told to stop, and their trust current.
    pub async fn renew(self, core: Arc<Core>, live: LiveCredentials, stop: CancellationToken) {
        let mut trust = core.issuer.trust_changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(DAILY) => {}
                changed = trust.changed() => if changed.is_err() { return },
            }
            let renewed = self.credentials(&core).await.and_then(|fresh| Ok(live.replace(fresh)?));
            if let Err(error) = renewed {
                tracing::error!(%error, "the auth service's own certificate was not renewed; the old one stays");
            }
        }
    }
}
