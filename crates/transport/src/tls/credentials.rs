//! Credentials that change while connections come and go: each new connection uses the current ones.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use identity::credentials::Credentials;
use identity::trust::TrustBundle;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, crypto::aws_lc_rs};
use tokio::sync::watch;
use tokio::time::Instant;

/// Who a program is and whom it trusts, now. Clones share one state; replacing it reaches all of them, and every
/// connection made from then on.
#[derive(Clone)]
pub struct LiveCredentials {
    state: Arc<watch::Sender<Option<Arc<Current>>>>,
}

/// One state of [`LiveCredentials`].
pub struct Current {
    credentials: Credentials,
    trust: Arc<TrustBundle>,
    /// When it was put in force.
    trusted_since: Instant,
    certified: Arc<CertifiedKey>,
}

/// Longer than fresh credentials are under way: trust that was put in force before they were asked for is older than
/// theirs, also when its revision is larger, as it is when auth was restored from a backup.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Credentials that TLS cannot use.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the credentials cannot be used for TLS: {0}")]
pub struct CredentialsError(String);

impl LiveCredentials {
    /// None yet; to be filled by [`Self::replace`].
    #[must_use]
    pub fn empty() -> Self {
        Self { state: Arc::new(watch::Sender::new(None)) }
    }

    /// These.
    pub fn new(credentials: Credentials) -> Result<Self, CredentialsError> {
        let live = Self::empty();
        live.replace(credentials)?;
        Ok(live)
    }

    /// From now on these, which were issued just now. Connections that exist are not touched.
    pub fn replace(&self, credentials: Credentials) -> Result<(), CredentialsError> {
        let certified = Arc::new(certified(&credentials)?);
        self.state.send_modify(|state| {
            let came = &credentials.trust;
            let newer = state.as_ref().filter(|old| {
                old.trust.cluster == came.cluster
                    && old.trust.revision > came.revision
                    && old.trusted_since.elapsed() < UNDER_WAY
            });
            let (trust, trusted_since) = match newer {
                Some(old) => (Arc::clone(&old.trust), old.trusted_since),
                None => (Arc::new(came.clone()), Instant::now()),
            };
            *state = Some(Arc::new(Current { credentials, trust, trusted_since, certified }));
        });
        Ok(())
    }

    /// Trusts `bundle` from now on, unless the one in force is of another cluster or as new by its revision. Says
    /// whether it does.
    pub fn update_trust(&self, bundle: TrustBundle) -> bool {
        self.trust_if(bundle, |old, came| old.revision < came.revision)
    }

    /// Trusts `bundle` from now on whatever its revision, for one that is known to be newer by its date: a store that
    /// was restored from a backup counts from an earlier revision. Says whether it does.
    pub fn replace_trust(&self, bundle: TrustBundle) -> bool {
        self.trust_if(bundle, |old, came| old != came)
    }

    fn trust_if(&self, bundle: TrustBundle, newer: impl FnOnce(&TrustBundle, &TrustBundle) -> bool) -> bool {
        self.state.send_if_modified(|state| {
            let Some(old) = state else { return false };
            if old.trust.cluster != bundle.cluster || !newer(&old.trust, &bundle) {
                return false;
            }
            *state = Some(Arc::new(Current {
                credentials: old.credentials.clone(),
                trust: Arc::new(bundle),
                trusted_since: Instant::now(),
                certified: Arc::clone(&old.certified),
            }));
            true
        })
    }

    /// The state now; absent before the program has joined.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Current>> {
        self.state.borrow().clone()
    }

    /// Follows the state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Current>>> {
        self.state.subscribe()
    }
}

impl Current {
    /// Key, certificates, and the trust that came with them, which may be older than [`Self::trust`].
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whom to trust: the newest bundle that was seen.
    #[must_use]
    pub fn trust(&self) -> &Arc<TrustBundle> {
        &self.trust
    }
}

fn certified(credentials: &Credentials) -> Result<CertifiedKey, CredentialsError> {
    let wrong = |error: &dyn fmt::Display| CredentialsError(error.to_string());
    let pkcs8 = credentials.key.pkcs8_der().map_err(|error| wrong(&error))?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
    let key = aws_lc_rs::sign::any_ecdsa_type(&der).map_err(|error| wrong(&error))?;
    let mut chain = credentials.tls_chain.to_vec();
    // The authorities go along, so that a joiner that knows nothing but a pin finds it in the chain.
    for authority in &credentials.trust.host.tls {
        if !chain.contains(authority) {
            chain.push(authority.clone());
        }
    }
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| wrong(&error))?;
    Ok(certified)
}

impl fmt::Debug for LiveCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.current() {
            Some(current) => write!(f, "Live{:?}", current.credentials),
            None => f.write_str("LiveCredentials(none)"),
        }
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Current{:?}", self.credentials)
    }
}

impl ResolvesServerCert for LiveCredentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|current| Arc::clone(&current.certified))
    }
}

impl ResolvesClientCert for LiveCredentials {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current().map(|current| Arc::clone(&current.certified))
    }

    fn has_certs(&self) -> bool {
        self.state.borrow().is_some()
    }
}
