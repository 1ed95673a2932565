//! Web certificates from files, chosen by the name that the client asks for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::provider::provider;

/// Two files: a private key, and its certificate chain, leaf first; both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebKeypair {
    /// The private key.
    pub key_file: PathBuf,
    /// The chain.
    pub cert_file: PathBuf,
}

/// Why a keypair cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("https_keypairs: {file}: {reason}")]
pub struct WebCertificateError {
    /// The file that is to blame.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The web certificates in force. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct WebCertificates {
    loaded: Arc<RwLock<Loaded>>,
}

#[derive(Debug, Default)]
struct Loaded {
    from: Vec<WebKeypair>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl WebCertificates {
    /// Reads these keypairs, which replace all others. When any cannot be used, all of the old ones stay in force.
    pub fn load(&self, keypairs: &[WebKeypair]) -> Result<(), WebCertificateError> {
        let keys = keypairs.iter().map(read).collect::<Result<_, _>>()?;
        let fresh = Loaded { from: keypairs.to_vec(), keys };
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Reads the files of the keypairs in force anew.
    pub fn reload(&self) -> Result<(), WebCertificateError> {
        let from = self.loaded.read().unwrap_or_else(PoisonError::into_inner).from.clone();
        self.load(&from)
    }

    /// The first certificate for `name`, or simply the first one; none when there are none.
    pub(super) fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_for(key, name));
        loaded.keys.iter().find(fits).or_else(|| loaded.keys.first()).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    leaf.is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

fn read(pair: &WebKeypair) -> Result<Arc<CertifiedKey>, WebCertificateError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&pair.cert_file)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&pair.cert_file, &error))?;
    if chain.is_empty() {
        return Err(wrong(&pair.cert_file, &"no certificate in it; write the PEM chain, leaf first"));
    }
    let der = PrivateKeyDer::from_pem_file(&pair.key_file).map_err(|error| wrong(&pair.key_file, &error))?;
    let key = provider().key_provider.load_private_key(der).map_err(|error| wrong(&pair.key_file, &error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let reason = format!("not the key of the certificate in {}", pair.cert_file.display());
            Err(wrong(&pair.key_file, &reason))
        }
        Err(error) => Err(wrong(&pair.cert_file, &error)),
    }
}

fn wrong(file: &Path, reason: &dyn std::fmt::Display) -> WebCertificateError {
    WebCertificateError { file: file.display().to_string(), reason: reason.to_string() }
}
