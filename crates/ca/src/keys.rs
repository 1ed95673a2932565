//! The private keys of one generation of one authority: Ed25519 for SSH, P-256 for X.509 and for JWTs.

use access::ClusterName;
use access::resource::cert_authority::CaKind;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::key::PublicKey;
use identity::svid::JwtKey;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use zeroize::Zeroizing;

use crate::sign::x509;

/// Keys that sign.
pub(crate) struct Keys {
    /// All but the authority of workloads have one.
    ssh: Option<Ed25519KeyPair>,
    tls: Option<TlsKeys>,
    /// The authority of workloads has one.
    jwt: Option<JwtKeys>,
    stored: StoredKeys,
}

pub(crate) struct TlsKeys {
    pub key: rcgen::KeyPair,
    pub certificate: CertificateDer<'static>,
}

pub(crate) struct JwtKeys {
    pub pair: EcdsaKeyPair,
    pub public: JwtKey,
}

/// As they are sealed: PKCS#8 and DER in base64.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ssh: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<StoredTlsKeys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwt: Option<Zeroizing<String>>,
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
        let p256 = || EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).map_err(made);
        let ssh = match kind {
            CaKind::Spiffe => None,
            CaKind::Host | CaKind::User | CaKind::Openssh => {
                Some(encode(Ed25519KeyPair::generate_pkcs8(&rng).map_err(made)?.as_ref()))
            }
        };
        let tls = match kind {
            CaKind::Openssh => None,
            CaKind::Host | CaKind::User | CaKind::Spiffe => {
                let pkcs8 = p256()?;
                let key = tls_key(pkcs8.as_ref())?;
                let certificate = x509::authority(kind, cluster, &key, now).map_err(|_| KeyFault("made"))?;
                Some(StoredTlsKeys {
                    key: encode(pkcs8.as_ref()),
                    certificate: STANDARD.encode(&certificate),
                })
            }
        };
        let jwt = match kind {
            CaKind::Spiffe => Some(encode(p256()?.as_ref())),
            CaKind::Host | CaKind::User | CaKind::Openssh => None,
        };
        Self::open(StoredKeys { ssh, tls, jwt })
    }

    /// From what was sealed.
    pub fn open(stored: StoredKeys) -> Result<Self, KeyFault> {
        let read = KeyFault("read");
        let ssh = match &stored.ssh {
            None => None,
            Some(ssh) => Some(Ed25519KeyPair::from_pkcs8(&decode(ssh)?).map_err(|_| read)?),
        };
        let tls = match &stored.tls {
            None => None,
            Some(tls) => Some(TlsKeys {
                key: tls_key(&decode(&tls.key)?)?,
                certificate: STANDARD.decode(&tls.certificate).map_err(|_| read)?.into(),
            }),
        };
        let jwt = match &stored.jwt {
            None => None,
            Some(jwt) => Some(jwt_keys(&decode(jwt)?)?),
        };
        Ok(Self { ssh, tls, jwt, stored })
    }

    /// To be sealed.
    pub fn stored(&self) -> StoredKeys {
        self.stored.clone()
    }

    pub fn ssh(&self) -> Option<&Ed25519KeyPair> {
        self.ssh.as_ref()
    }

    pub fn tls(&self) -> Option<&TlsKeys> {
        self.tls.as_ref()
    }

    pub fn jwt(&self) -> Option<&JwtKeys> {
        self.jwt.as_ref()
    }

    /// The public half for trust bundles.
    pub fn ssh_public(&self) -> Option<ssh_key::PublicKey> {
        self.ssh.as_ref().map(ssh_public)
    }

    /// The points of its P-256 keys.
    pub fn points(&self) -> impl Iterator<Item = &[u8]> {
        let tls = self.tls.iter().map(|tls| tls.key.public_key_raw());
        tls.chain(self.jwt.iter().map(|jwt| jwt.public.key().point()))
    }
}

/// The public half of a key for SSH.
pub(crate) fn ssh_public(pair: &Ed25519KeyPair) -> ssh_key::PublicKey {
    let key = Ed25519PublicKey::try_from(pair.public_key().as_ref());
    ssh_key::PublicKey::from(KeyData::Ed25519(key.expect("an Ed25519 public key has 32 bytes")))
}

fn jwt_keys(pkcs8: &[u8]) -> Result<JwtKeys, KeyFault> {
    let read = KeyFault("read");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| read)?;
    let public = PublicKey::from_point(pair.public_key().as_ref()).map_err(|_| read)?;
    Ok(JwtKeys { pair, public: JwtKey::new(public) })
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
