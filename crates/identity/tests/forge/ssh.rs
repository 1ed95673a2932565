//! SSH certificates, written byte by byte.

use super::NOW;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use identity::Identity;
use identity::ssh::{CertificateType, Claims};
use uuid::Uuid;

pub const USER: u32 = 1;
pub const HOST: u32 = 2;

pub fn string(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    out.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend_from_slice(bytes);
}

pub fn strings<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    parts.into_iter().for_each(|part| string(&mut out, part));
    out
}

/// A key that signs certificates.
pub enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Signer {
    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("a key"))
    }

    pub fn p256() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref());
        Self::P256(key.expect("a key"))
    }

    /// The plain key's fields after its algorithm.
    pub fn fields(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => strings([key.public_key().as_ref()]),
            Self::P256(key) => strings([&b"nistp256"[..], key.public_key().as_ref()]),
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ssh-ed25519",
            Self::P256(_) => "ecdsa-sha2-nistp256",
        }
    }

    pub fn blob(&self) -> Vec<u8> {
        [strings([self.algorithm()]), self.fields()].concat()
    }

    pub fn public(&self) -> ssh_key::PublicKey {
        ssh_key::PublicKey::from_bytes(&self.blob()).expect("a key")
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let body = match self {
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::P256(key) => {
                let fixed = key.sign(&SystemRandom::new(), message).expect("a signature");
                strings(fixed.as_ref().chunks(32).map(integer))
            }
        };
        strings([self.algorithm().as_bytes(), &body])
    }
}

/// A positive integer in its shortest form.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    match bytes.get(start) {
        Some(first) if first & 0x80 != 0 => [&[0], &bytes[start..]].concat(),
        _ => bytes[start..].to_vec(),
    }
}

/// Every part of a certificate, free to be wrong.
#[derive(Clone)]
pub struct Certificate {
    pub algorithm: String,
    pub subject: Vec<u8>,
    pub serial: u64,
    pub kind: u32,
    pub key_id: Vec<u8>,
    pub principals: Vec<Vec<u8>>,
    pub valid_after: u64,
    pub valid_before: u64,
    pub critical: Vec<(Vec<u8>, Vec<u8>)>,
    pub extensions: Vec<(Vec<u8>, Vec<u8>)>,
    /// Instead of the signer's own.
    pub signature_key: Option<Vec<u8>>,
}

impl Certificate {
    /// A right one, for an hour, over a fresh P-256 key.
    pub fn of(identity: &Identity) -> Self {
        Self::about(identity, &Signer::p256())
    }

    /// A right one about that key.
    pub fn about(identity: &Identity, subject: &Signer) -> Self {
        let Claims { kind, key_id, principals, critical_options, extensions } =
            Claims::of(identity, Uuid::from_u128(1));
        let options = |map: std::collections::BTreeMap<String, String>| {
            map.into_iter().map(|(name, value)| (name.into_bytes(), wrapped(value.as_bytes()))).collect()
        };
        Self {
            algorithm: format!("{}-cert-v01@openssh.com", subject.algorithm()),
            subject: subject.fields(),
            serial: 99,
            kind: match kind {
                CertificateType::User => USER,
                CertificateType::Host => HOST,
            },
            key_id: key_id.into_bytes(),
            principals: principals.into_iter().map(String::into_bytes).collect(),
            valid_after: NOW as u64 - 60,
            valid_before: NOW as u64 + 3600,
            critical: options(critical_options),
            extensions: options(extensions),
            signature_key: None,
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Adds or replaces an extension, in its place.
    pub fn extension(mut self, name: &str, value: &str) -> Self {
        self.extensions.retain(|(key, _)| key != name.as_bytes());
        self.extensions.push((name.as_bytes().to_vec(), wrapped(value.as_bytes())));
        self.extensions.sort();
        self
    }

    pub fn sign(&self, signer: &Signer) -> Vec<u8> {
        let mut blob = strings([self.algorithm.as_bytes(), &[9; 32]]);
        blob.extend_from_slice(&self.subject);
        blob.extend_from_slice(&self.serial.to_be_bytes());
        blob.extend_from_slice(&self.kind.to_be_bytes());
        string(&mut blob, &self.key_id);
        string(&mut blob, strings(&self.principals));
        blob.extend_from_slice(&self.valid_after.to_be_bytes());
        blob.extend_from_slice(&self.valid_before.to_be_bytes());
        for list in [&self.critical, &self.extensions] {
            string(&mut blob, strings(list.iter().flat_map(|(name, value)| [name, value])));
        }
        string(&mut blob, b"");
        string(&mut blob, self.signature_key.clone().unwrap_or_else(|| signer.blob()));
        let signature = signer.sign(&blob);
        string(&mut blob, signature);
        blob
    }
}

/// An option's value: nothing, or one string.
pub fn wrapped(value: &[u8]) -> Vec<u8> {
    match value {
        [] => Vec::new(),
        value => strings([value]),
    }
}
