//! `TPM2_MakeCredential` without a TPM (part 1, section 24, and annexes B and C): a secret for who holds two keys.

use super::public::{Algorithm, EndorsementKey, KeyFault};
use super::wire::sized;
use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

/// What a TPM opens with `TPM2_ActivateCredential`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`: the integrity value, then the encrypted secret.
    pub object: Vec<u8>,
    /// The content of the `TPM2B_ENCRYPTED_SECRET`: the seed for the endorsement key.
    pub seed: Vec<u8>,
}

/// Why no credential was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// A key is not one that is used.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The cryptographic library failed.
    #[error("the credential could not be made")]
    Crypto,
}

impl From<Unspecified> for MakeError {
    fn from(_: Unspecified) -> Self {
        Self::Crypto
    }
}

impl Credential {
    /// `secret` for the TPM with `key` that also holds the key of this name. `seed` is random; with an ECC key another one,
    /// from an exchange, takes its place.
    pub(super) fn make(
        key: &EndorsementKey,
        name: &[u8],
        secret: &[u8; 32],
        seed: &[u8; 32],
    ) -> Result<Self, MakeError> {
        let (seed, sealed) = match key.algorithm() {
            Algorithm::Rsa2048 => (*seed, by_oaep(key, seed)?),
            Algorithm::EccP256 => by_exchange(key)?,
        };
        let encryption: [u8; 16] = kdfa(&seed, b"STORAGE", name, 128);
        let integrity: [u8; 32] = kdfa(&seed, b"INTEGRITY", &[], 256);
        let mut identity = sized(secret);
        let cipher = EncryptingKey::cfb128(UnboundCipherKey::new(&AES_128, &encryption)?)?;
        cipher.less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16])))?;
        let integrity = hmac::Key::new(HMAC_SHA256, &integrity);
        let tag = hmac::sign(&integrity, &[&identity, name].concat());
        Ok(Self { object: [sized(tag.as_ref()), identity].concat(), seed: sealed })
    }
}

/// The label has its closing zero byte (annex B.10.4).
const LABEL: &[u8] = b"IDENTITY\0";

fn by_oaep(key: &EndorsementKey, seed: &[u8; 32]) -> Result<Vec<u8>, MakeError> {
    let key = PublicEncryptingKey::from_der(key.spki_der()).map_err(|_| KeyFault::Endorsement)?;
    let key = OaepPublicEncryptingKey::new(key)?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, seed, &mut sealed, Some(LABEL))?.len();
    sealed.truncate(length);
    Ok(sealed)
}

fn by_exchange(key: &EndorsementKey) -> Result<([u8; 32], Vec<u8>), MakeError> {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())?;
    let point = own.compute_public_key()?;
    let (own_x, own_y) = coordinates(point.as_ref())?;
    let (their_x, _) = coordinates(key.bits())?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, key.bits());
    let seed = agree_ephemeral(own, peer, MakeError::Crypto, |shared| Ok(kdfe(shared, own_x, their_x)))?;
    Ok((seed, [sized(own_x), sized(own_y)].concat()))
}

fn coordinates(point: &[u8]) -> Result<(&[u8], &[u8]), MakeError> {
    match point.split_first() {
        Some((4, rest)) if rest.len() == 64 => Ok(rest.split_at(32)),
        _ => Err(MakeError::Crypto),
    }
}

/// Part 1, section 11.4.10.2, for keys no longer than one hash.
fn kdfa<const LENGTH: usize>(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> [u8; LENGTH] {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    for part in [&1u32.to_be_bytes()[..], label, &[0], context, &bits.to_be_bytes()] {
        mac.update(part);
    }
    first(mac.sign().as_ref())
}

/// Part 1, section 11.4.10.3, for a key of one hash.
fn kdfe(shared: &[u8], own_x: &[u8], their_x: &[u8]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in [&1u32.to_be_bytes()[..], shared, LABEL, own_x, their_x] {
        hash.update(part);
    }
    first(hash.finish().as_ref())
}

fn first<const LENGTH: usize>(hash: &[u8]) -> [u8; LENGTH] {
    let mut key = [0; LENGTH];
    key.copy_from_slice(&hash[..LENGTH]);
    key
}
