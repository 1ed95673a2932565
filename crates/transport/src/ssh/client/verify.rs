//! Whether a server is the one that was wanted.

use std::fmt;

use identity::TrustBundle;
use identity::verify::ssh::{HostContext, host};
use jiff::Timestamp;

/// Decides whether to trust a host. Asked once, before anything about us is sent.
pub trait HostVerifier: Send + Sync + 'static {
    /// Judges a host certificate whose key signed this session's key exchange; `blob` is as on the wire.
    fn certificate(&self, blob: &[u8]) -> Result<(), HostRefusal>;

    /// Judges a plain host key, `blob` as on the wire. Refuses: this cluster's hosts have certificates.
    fn key(&self, _blob: &[u8], fingerprint: &str) -> Result<(), HostRefusal> {
        Err(HostRefusal {
            code: "host_key_without_certificate".to_owned(),
            reason: format!("the host shows a plain key ({fingerprint}) and no certificate of the cluster"),
        })
    }
}

/// Hosts of a cluster: a certificate of its host authority, for one of the names that were asked for.
#[derive(Debug, Clone)]
pub struct ClusterHost {
    /// Whose certificates count.
    pub trust: TrustBundle,
    /// What the host was asked for by: any one of these has to be in the certificate. None refuses every host.
    pub names: Vec<String>,
}

impl HostVerifier for ClusterHost {
    fn certificate(&self, blob: &[u8]) -> Result<(), HostRefusal> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let context = HostContext { trust: &self.trust, now: Timestamp::now(), names: &names };
        match host(blob, &context) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(HostRefusal { code: refusal.code().to_owned(), reason: refusal.to_string() }),
        }
    }
}

/// A host that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRefusal {
    /// Stable, for scripts.
    pub code: String,
    /// What was expected and what came.
    pub reason: String,
}

impl fmt::Display for HostRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}
