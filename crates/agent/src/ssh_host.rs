//! What the SSH server of a host shows, always the newest: a key with its certificate, or the certificate over a key that
//! another process holds and signs with.

use std::sync::Arc;

use identity::Credentials;
use identity::key::PublicKey;
use identity::ssh::SshCertificate;
use tokio::sync::watch;
use transport::LiveCredentials;
use transport::ssh::HostCredentials;

use crate::config::StartError;

/// What the SSH server of a host shows.
#[derive(Debug, Clone)]
pub enum SshHost {
    /// One key serves TLS and SSH, and it is here.
    Own(watch::Receiver<Arc<HostCredentials>>),
    /// The key for SSH is held by another process, which has to sign.
    Elsewhere(watch::Receiver<Arc<HostCertificate>>),
}

/// A certificate over a key that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCertificate {
    /// The key.
    pub key: PublicKey,
    /// The certificate.
    pub certificate: SshCertificate,
}

impl SshHost {
    /// For services that sign with the agent's own key.
    #[must_use]
    pub fn own(self) -> Option<watch::Receiver<Arc<HostCredentials>>> {
        match self {
            Self::Own(credentials) => Some(credentials),
            Self::Elsewhere(_) => None,
        }
    }
}

/// The sending end.
pub(crate) enum Following {
    Own(watch::Sender<Arc<HostCredentials>>),
    Elsewhere(watch::Sender<Arc<HostCertificate>>),
}

/// The SSH half of these credentials, and what keeps it in step with those that follow.
pub(crate) fn of(credentials: &Credentials) -> Result<(SshHost, Following), StartError> {
    if credentials.one_key_serves_both() {
        let (sender, receiver) = watch::channel(own(credentials)?);
        return Ok((SshHost::Own(receiver), Following::Own(sender)));
    }
    let (sender, receiver) = watch::channel(elsewhere(credentials));
    Ok((SshHost::Elsewhere(receiver), Following::Elsewhere(sender)))
}

impl Following {
    /// Keeps the SSH half in step with the credentials.
    pub(crate) async fn run(self, credentials: LiveCredentials) {
        let mut changes = credentials.subscribe();
        while changes.changed().await.is_ok() {
            let Some(current) = changes.borrow_and_update().clone() else { continue };
            let current = current.credentials();
            match &self {
                Self::Elsewhere(sender) => drop(sender.send_replace(elsewhere(current))),
                Self::Own(sender) => match own(current) {
                    Ok(fresh) => drop(sender.send_replace(fresh)),
                    Err(error) => tracing::error!(%error, "the SSH server keeps its old host certificate"),
                },
            }
        }
    }
}

fn own(credentials: &Credentials) -> Result<Arc<HostCredentials>, StartError> {
    let made = HostCredentials::of(credentials);
    made.map(Arc::new).map_err(|error| StartError::BadCredentials(error.to_string()))
}

fn elsewhere(credentials: &Credentials) -> Arc<HostCertificate> {
    let (key, certificate) = (credentials.ssh_key().clone(), credentials.ssh_certificate.clone());
    Arc::new(HostCertificate { key, certificate })
}
