//! Keys with their certificates, checked to belong together and ready for the engine.

use std::fmt;
use std::sync::Arc;

use identity::Credentials;
use jiff::Timestamp;
use russh::keys::ssh_key::{Certificate, HashAlg, PrivateKey};

/// Why a key and a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The private key cannot be read.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The certificate cannot be read.
    #[error("the SSH certificate cannot be read: {0}")]
    Certificate(String),
    /// They do not belong together.
    #[error("the SSH certificate is for another key than the private key beside it")]
    Mismatch,
}

/// What a server shows: a host key and the certificate over it.
#[derive(Clone)]
pub struct HostCredentials(Pair);

/// What a client shows: a user's key and the certificate over it.
#[derive(Clone)]
pub struct UserCredentials(Pair);

#[derive(Clone)]
struct Pair {
    key: Arc<PrivateKey>,
    certificate: Certificate,
}

impl Pair {
    fn new(key_pem: &str, certificate: &str) -> Result<Self, CredentialError> {
        let key = russh::keys::decode_secret_key(key_pem, None)
            .map_err(|error| CredentialError::Key(error.to_string()))?;
        let certificate = Certificate::from_openssh(certificate.trim_end())
            .map_err(|error| CredentialError::Certificate(error.to_string()))?;
        Self::checked(key, certificate)
    }

    fn of(credentials: &Credentials) -> Result<Self, CredentialError> {
        let key = credentials.key.ssh_private().map_err(|error| CredentialError::Key(error.to_string()))?;
        let certificate = credentials
            .ssh_certificate
            .to_ssh_key()
            .map_err(|error| CredentialError::Certificate(error.to_string()))?;
        Self::checked(key, certificate)
    }

    fn checked(key: PrivateKey, certificate: Certificate) -> Result<Self, CredentialError> {
        match certificate.public_key() == key.public_key().key_data() {
            true => Ok(Self { key: Arc::new(key), certificate }),
            false => Err(CredentialError::Mismatch),
        }
    }

    fn print(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{name}({} serial {})",
            self.key.public_key().fingerprint(HashAlg::Sha256),
            self.certificate.serial()
        )
    }
}

impl HostCredentials {
    /// From a PKCS#8 PEM key and a certificate line (`ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA...`).
    ///
    /// Whether the certificate is a good one is for the client to judge; here the two only have to belong together.
    pub fn new(key_pem: &str, certificate: &str) -> Result<Self, CredentialError> {
        Pair::new(key_pem, certificate).map(Self)
    }

    /// From what the cluster issued to this host.
    pub fn of(credentials: &Credentials) -> Result<Self, CredentialError> {
        Pair::of(credentials).map(Self)
    }

    /// When clients stop accepting the certificate; nothing for one without an end.
    #[must_use]
    pub fn valid_before(&self) -> Option<Timestamp> {
        i64::try_from(self.0.certificate.valid_before()).ok().and_then(|end| Timestamp::from_second(end).ok())
    }

    pub(super) fn key(&self) -> PrivateKey {
        PrivateKey::clone(&self.0.key)
    }

    pub(super) fn certificate(&self) -> Certificate {
        self.0.certificate.clone()
    }
}

impl UserCredentials {
    /// From a PKCS#8 PEM key and a certificate line.
    pub fn new(key_pem: &str, certificate: &str) -> Result<Self, CredentialError> {
        Pair::new(key_pem, certificate).map(Self)
    }

    /// From what the cluster issued to this user.
    pub fn of(credentials: &Credentials) -> Result<Self, CredentialError> {
        Pair::of(credentials).map(Self)
    }

    pub(super) fn key(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0.key)
    }

    pub(super) fn certificate(&self) -> Certificate {
        self.0.certificate.clone()
    }
}

impl fmt::Debug for HostCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print("HostCredentials", f)
    }
}

impl fmt::Debug for UserCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.print("UserCredentials", f)
    }
}
