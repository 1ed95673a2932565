//! The public half: a point on P-256 that was checked to be one.

use super::KeyError;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey, UnparsedPublicKey};
use ssh_key::public::{EcdsaPublicKey, KeyData};
use std::fmt;

/// DER of SubjectPublicKeyInfo up to the point: id-ecPublicKey, prime256v1, a bit string of 65 bytes
/// (RFC 5480). The encoding of a P-256 key is unique once compressed points are refused.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

/// A P-256 public key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    point: [u8; POINT],
}

impl PublicKey {
    /// From an uncompressed SEC1 point.
    pub fn from_point(bytes: &[u8]) -> Result<Self, KeyError> {
        let point: [u8; POINT] = bytes.try_into().map_err(|_| KeyError::NotP256)?;
        if point[0] != 4 {
            return Err(KeyError::NotP256);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| KeyError::NotP256)?;
        Ok(Self { point })
    }

    /// From DER SubjectPublicKeyInfo; only the one form that [`Self::spki_der`] gives.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_point(der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::NotP256)?)
    }

    /// From an OpenSSH key.
    pub fn from_ssh(key: &ssh_key::PublicKey) -> Result<Self, KeyError> {
        match key.key_data() {
            KeyData::Ecdsa(key @ EcdsaPublicKey::NistP256(_)) => Self::from_point(key.as_sec1_bytes()),
            _ => Err(KeyError::NotP256),
        }
    }

    /// The uncompressed SEC1 point.
    pub fn point(&self) -> &[u8] {
        &self.point
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.point].concat()
    }

    /// As OpenSSH has it, without a comment.
    pub fn ssh(&self) -> ssh_key::PublicKey {
        let key = EcdsaPublicKey::from_sec1_bytes(&self.point);
        let key = key.expect("an uncompressed P-256 point was checked when made");
        ssh_key::PublicKey::from(KeyData::Ecdsa(key))
    }

    /// From one line of OpenSSH, `ecdsa-sha2-nistp256 AAAA... comment`.
    pub fn from_openssh(line: &str) -> Result<Self, KeyError> {
        let key = ssh_key::PublicKey::from_openssh(line.trim()).map_err(|_| KeyError::NotP256)?;
        Self::from_ssh(&key)
    }

    /// As one line of OpenSSH, without a comment: of one key always the same text.
    pub fn to_openssh(&self) -> String {
        self.ssh().to_openssh().expect("a point on the curve is encoded")
    }

    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.ssh().fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// Whether `signature` (ASN.1, ECDSA over SHA-256) is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SubjectKey;
    use aws_lc_rs::rand::SystemRandom;

    #[test]
    fn every_form_leads_back() {
        let key = SubjectKey::generate(&SystemRandom::new()).expect("a key").public().clone();
        assert_eq!(PublicKey::from_spki_der(&key.spki_der()), Ok(key.clone()));
        assert_eq!(PublicKey::from_ssh(&key.ssh()), Ok(key.clone()));
        assert!(key.fingerprint().starts_with("SHA256:"));
    }

    #[test]
    fn points_off_the_curve_and_other_forms_are_refused() {
        let key = SubjectKey::generate(&SystemRandom::new()).expect("a key").public().clone();
        let mut off_curve = key.point().to_vec();
        off_curve[64] ^= 1;
        let mut compressed = key.point()[..33].to_vec();
        compressed[0] = 2;
        let mut trailing = key.spki_der();
        trailing.push(0);
        for wrong in [off_curve, compressed, vec![], vec![4; 65]] {
            assert_eq!(PublicKey::from_point(&wrong), Err(KeyError::NotP256));
        }
        assert_eq!(PublicKey::from_spki_der(&trailing), Err(KeyError::NotP256));
    }
}
