//! A pin: the hash of an authority's public key, short enough for a command line.

use crate::Refusal;
use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `sha256:` and the lower-case hex SHA-256 of the DER SubjectPublicKeyInfo of a TLS host authority
/// (fact sheet of server access, section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin([u8; 32]);

/// Why a text is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a CA pin; it looks like sha256: and 64 hex digits, and `tctl status` prints it")]
pub struct PinError {
    text: String,
}

impl Pin {
    /// The pin of a certificate's key.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let spki = crate::x509::parsed::spki(certificate)?;
        let hash = digest(&SHA256, &spki);
        Ok(Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }

    /// Whether this is the pin of that certificate's key. A public value: no constant time is needed.
    pub fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        Self::of(certificate).is_ok_and(|pin| pin == *self)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let wrong = || PinError { text: text.chars().take(80).collect() };
        let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| wrong())?;
        Ok(Self(hash))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Pin {
    type Error = PinError;
    fn try_from(text: String) -> Result<Self, PinError> {
        text.parse()
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> String {
        pin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_strictly() {
        let text = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(text.parse::<Pin>().expect("a pin").to_string(), text);
        for wrong in ["", "sha256:", "sha1:abcd", &"ab".repeat(32), &format!("{text}00"), &format!("{text} ")]
        {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong:?}");
        }
    }
}
