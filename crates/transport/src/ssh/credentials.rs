//! Keys with their certificates, checked to belong together and ready for the engine.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use ::ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ::ssh::keys::{PublicKey, SigningKey};
use ::ssh::{ExchangeRecord, HostKey, ToSign};
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
pub struct HostCredentials(Host);

#[derive(Clone)]
enum Host {
    /// The key is here.
    Own(Pair),
    /// Somebody else has it.
    Elsewhere { public: PublicKey, certificate: SshCertificate, signer: Arc<dyn HostSigner> },
}

/// A host key that another process holds.
pub trait HostSigner: Send + Sync {
    /// Signs the hash of a key exchange in which its key, or a certificate over it, was shown. Gives the signature blob, or
    /// why there is none.
    fn sign(&self, exchange: Box<ExchangeRecord>) -> Signing;

    /// The session of this identifier is over before anybody had logged in.
    fn forget(&self, session: Vec<u8>);
}

/// A signature that is being made.
pub type Signing = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

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
        certifies(&certificate, key.public())?;
        Ok(Self { key: Arc::new(key), certificate })
    }

    /// The best that the key can do, with its certificate.
    fn algorithm(&self) -> KeyAlgorithm {
        let scheme = self.key.schemes().first().copied().unwrap_or(SignatureScheme::Ed25519);
        KeyAlgorithm { scheme, certificate: true }
    }

    fn sign(&self, to_sign: &ToSign) -> Result<Vec<u8>, String> {
        self.key.sign(to_sign.algorithm.scheme, &to_sign.data).map_err(|error| error.to_string())
    }
}

/// Whether a certificate is about this key.
fn certifies(certificate: &SshCertificate, key: &PublicKey) -> Result<(), CredentialError> {
    let scheme = key.schemes().first().copied().unwrap_or(SignatureScheme::Ed25519);
    match PublicKey::of(KeyAlgorithm { scheme, certificate: true }, certificate.blob()) {
        Ok(subject) if subject == *key => Ok(()),
        Ok(_) | Err(::ssh::keys::KeyError::OtherType) => Err(CredentialError::Mismatch),
        Err(error) => Err(CredentialError::Certificate(error.to_string())),
    }
}

impl HostCredentials {
    /// From a PKCS#8 PEM key and a certificate line (`ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA...`).
    ///
    /// Whether the certificate is a good one is for the client to judge; here the two only have to belong together.
    pub fn new(key_pem: &str, certificate: &str) -> Result<Self, CredentialError> {
        Ok(Self(Host::Own(Pair::new(key_pem, certificate)?)))
    }

    /// From what the cluster issued to this host.
    pub fn of(credentials: &Credentials) -> Result<Self, CredentialError> {
        Ok(Self(Host::Own(Pair::of(credentials)?)))
    }

    /// A certificate over a key that another process holds; `key` is its public half as on the wire.
    pub fn elsewhere(
        key: &[u8],
        certificate: SshCertificate,
        signer: Arc<dyn HostSigner>,
    ) -> Result<Self, CredentialError> {
        let public = PublicKey::read(key).map_err(|error| CredentialError::Key(error.to_string()))?;
        certifies(&certificate, &public)?;
        Ok(Self(Host::Elsewhere { public, certificate, signer }))
    }

    /// When clients stop accepting the certificate; nothing for one without an end.
    #[must_use]
    pub fn valid_before(&self) -> Option<Timestamp> {
        let end = self.certificate().raw().valid_before;
        i64::try_from(end).ok().and_then(|end| Timestamp::from_second(end).ok())
    }

    fn certificate(&self) -> &SshCertificate {
        match &self.0 {
            Host::Own(pair) => &pair.certificate,
            Host::Elsewhere { certificate, .. } => certificate,
        }
    }

    fn public(&self) -> &PublicKey {
        match &self.0 {
            Host::Own(pair) => pair.key.public(),
            Host::Elsewhere { public, .. } => public,
        }
    }

    /// What clients can be shown: the certificate first, the key itself to those who cannot read one.
    pub(super) fn shown(&self) -> Vec<HostKey> {
        let (key, certificate) = (self.public().blob(), self.certificate().blob());
        let schemes = || self.public().schemes().iter().copied();
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

    /// The session of this identifier is over before anybody had logged in.
    pub(super) fn forget(&self, session: Vec<u8>) {
        if let Host::Elsewhere { signer, .. } = &self.0 {
            signer.forget(session);
        }
    }

    /// Signs a key exchange; the outcome is there at once where the key is.
    pub(super) fn sign(&self, to_sign: ToSign) -> Signed {
        let wrong = |error| format!("the host key cannot sign: {error}");
        match (&self.0, to_sign.exchange) {
            (Host::Own(pair), exchange) => {
                Signed::Now(pair.sign(&ToSign { exchange, ..to_sign }).map_err(wrong))
            }
            (Host::Elsewhere { signer, .. }, Some(exchange)) => Signed::Later(signer.sign(exchange)),
            (Host::Elsewhere { .. }, None) => {
                Signed::Now(Err(wrong("it signs key exchanges only".to_owned())))
            }
        }
    }

    /// Proves the possession of host keys that were announced. None is where the key is elsewhere.
    pub(super) fn prove(&self, to_sign: &[ToSign]) -> Option<Vec<Vec<u8>>> {
        match &self.0 {
            Host::Own(pair) => to_sign.iter().map(|one| pair.sign(one).ok()).collect(),
            Host::Elsewhere { .. } => None,
        }
    }
}

/// A signature, or one that is being made.
pub(super) enum Signed {
    Now(Result<Vec<u8>, String>),
    Later(Signing),
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
        let serial = self.certificate().raw().serial;
        write!(f, "HostCredentials({} serial {serial})", self.public().fingerprint())
    }
}

impl fmt::Debug for UserCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pair { key, certificate } = &self.0;
        write!(f, "UserCredentials({} serial {})", key.public().fingerprint(), certificate.raw().serial)
    }
}
