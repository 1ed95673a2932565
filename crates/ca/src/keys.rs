//! The private keys of one generation of one authority: Ed25519 for SSH, P-256 for TLS.

use access::ClusterName;
use access::resource::cert_authority::CaKind;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use zeroize::Zeroizing;

use crate::sign::x509;

/// Keys that sign.
pub(crate) struct Keys {
    ssh: Ed25519KeyPair,
    tls: Option<TlsKeys>,
    stored: StoredKeys,
}

pub(crate) struct TlsKeys {
    pub key: rcgen::KeyPair,
    pub certificate: CertificateDer<'static>,
}

/// As they are sealed: PKCS#8 and DER in base64.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredKeys {
    ssh: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<StoredTlsKeys>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTlsKeys {
    key: Zeroizing<String>,
    certificate: String,
}

/// Keys that could not be made or read. Says nothing of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an authority's key cannot be {0}")]
pub struct KeyFault(pub &'static str);

impl Keys {
    /// Fresh ones. aws-lc draws from its own generator.
    pub fn generate(kind: CaKind, cluster: &ClusterName, now: jiff::Timestamp) -> Result<Self, KeyFault> {
        let made = |_| KeyFault("made");
        let rng = SystemRandom::new();
        let ssh = Ed25519KeyPair::generate_pkcs8(&rng).map_err(made)?;
        let tls = match kind {
            CaKind::Openssh => None,
            CaKind::Host | CaKind::User => {
                let pkcs8 =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).map_err(made)?;
                let key = tls_key(pkcs8.as_ref())?;
                let certificate = x509::authority(kind, cluster, &key, now).map_err(|_| KeyFault("made"))?;
                Some(StoredTlsKeys {
                    key: encode(pkcs8.as_ref()),
                    certificate: STANDARD.encode(&certificate),
                })
            }
        };
        Self::open(StoredKeys { ssh: encode(ssh.as_ref()), tls })
    }

    /// From what was sealed.
    pub fn open(stored: StoredKeys) -> Result<Self, KeyFault> {
        let read = KeyFault("read");
        let ssh = Ed25519KeyPair::from_pkcs8(&decode(&stored.ssh)?).map_err(|_| read)?;
        let tls = match &stored.tls {
            None => None,
            Some(tls) => Some(TlsKeys {
                key: tls_key(&decode(&tls.key)?)?,
                certificate: STANDARD.decode(&tls.certificate).map_err(|_| read)?.into(),
            }),
        };
        Ok(Self { ssh, tls, stored })
    }

    /// To be sealed.
    pub fn stored(&self) -> StoredKeys {
        self.stored.clone()
    }

    pub fn ssh(&self) -> &Ed25519KeyPair {
        &self.ssh
    }

    pub fn tls(&self) -> Option<&TlsKeys> {
        self.tls.as_ref()
    }

    /// The public half for trust bundles.
    pub fn ssh_public(&self) -> ssh_key::PublicKey {
        let bytes = self.ssh.public_key().as_ref();
        let key = Ed25519PublicKey::try_from(bytes).expect("an Ed25519 public key has 32 bytes");
        ssh_key::PublicKey::from(KeyData::Ed25519(key))
    }
}

fn tls_key(pkcs8: &[u8]) -> Result<rcgen::KeyPair, KeyFault> {
    let der = PrivatePkcs8KeyDer::from(pkcs8);
    rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|_| KeyFault("read"))
}

fn encode(der: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(der))
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    STANDARD.decode(text).map(Zeroizing::new).map_err(|_| KeyFault("read"))
}
