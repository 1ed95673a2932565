//! Keys with their certificates, checked to belong together and ready for the engine.

use std::fmt;
use std::sync::Arc;

use ::ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ::ssh::keys::{PublicKey, SigningKey};
use ::ssh::{HostKey, ToSign};
use identity::Credentials;
use identity::ssh::SshCertificate;
use jiff::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

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
    key: Arc<SigningKey>,
    certificate: SshCertificate,
}

impl Pair {
    fn new(key_pem: &str, certificate: &str) -> Result<Self, CredentialError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| CredentialError::Key(error.to_string()))?;
        let certificate = SshCertificate::from_line(certificate.trim_end())
            .map_err(|error| CredentialError::Certificate(error.to_string()))?;
        Self::checked(key.secret_pkcs8_der(), certificate)
    }

    fn of(credentials: &Credentials) -> Result<Self, CredentialError> {
        let key = credentials.key.pkcs8_der().map_err(|error| CredentialError::Key(error.to_string()))?;
        Self::checked(&key, credentials.ssh_certificate.clone())
    }

    fn checked(key: &[u8], certificate: SshCertificate) -> Result<Self, CredentialError> {
        let key = SigningKey::from_pkcs8(key).map_err(|error| CredentialError::Key(error.to_string()))?;
        let pair = Self { key: Arc::new(key), certificate };
        match PublicKey::of(pair.algorithm(), pair.certificate.blob()) {
            Ok(subject) if subject == *pair.key.public() => Ok(pair),
            Ok(_) => Err(CredentialError::Mismatch),
            Err(::ssh::keys::KeyError::OtherType) => Err(CredentialError::Mismatch),
            Err(error) => Err(CredentialError::Certificate(error.to_string())),
        }
    }

    /// The best that the key can do, with its certificate.
    fn algorithm(&self) -> KeyAlgorithm {
        let scheme = self.key.schemes().first().copied().unwrap_or(SignatureScheme::Ed25519);
        KeyAlgorithm { scheme, certificate: true }
    }

    fn sign(&self, to_sign: &ToSign) -> Result<Vec<u8>, String> {
        self.key.sign(to_sign.algorithm.scheme, &to_sign.data).map_err(|error| error.to_string())
    }

    fn print(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{name}({} serial {})", self.key.public().fingerprint(), self.certificate.raw().serial)
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
        let end = self.0.certificate.raw().valid_before;
        i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok())
    }

    /// What clients can be shown: the certificate first, the key itself to those who cannot read one.
    pub(super) fn shown(&self) -> Vec<HostKey> {
        let (key, certificate) = (self.0.key.public().blob(), self.0.certificate.blob());
        let schemes = || self.0.key.schemes().iter().copied();
        let show = |certificate, blob: &[u8]| {
            let blob = blob.to_vec();
            schemes()
                .map(move |scheme| HostKey {
                    algorithm: KeyAlgorithm { scheme, certificate },
                    blob: blob.clone(),
                })
                .collect::<Vec<_>>()
        };
        [show(true, certificate), show(false, &key)].concat()
    }

    pub(super) fn sign(&self, to_sign: &ToSign) -> Result<Vec<u8>, String> {
        self.0.sign(to_sign).map_err(|error| format!("the host key cannot sign: {error}"))
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

    pub(super) fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm()
    }

    pub(super) fn blob(&self) -> &[u8] {
        self.0.certificate.blob()
    }

    pub(super) fn sign(&self, to_sign: &ToSign) -> Result<Vec<u8>, String> {
        self.0.sign(to_sign).map_err(|error| format!("our key cannot sign: {error}"))
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
