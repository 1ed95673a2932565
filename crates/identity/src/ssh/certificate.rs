//! An OpenSSH certificate taken apart (PROTOCOL.certkeys), before anything about it is believed.
//!
//! The parser of the SSH crate is not used here: it follows a certificate inside a certificate without limit,
//! and what it verifies is its own re-encoding. This one is flat: the signer stays a byte string, and the
//! signature is checked over the very bytes that it is given, which in a connection are those that the peer sent.

use super::key_blob::{self, SubjectBlob};
use super::wire::Reader;
use crate::Refusal;

/// No certificate of ours comes near.
pub const MAX_LENGTH: usize = 16 * 1024;
/// As OpenSSH's own limit.
const MAX_PRINCIPALS: usize = 256;
const SUFFIX: &str = "-cert-v01@openssh.com";

/// `SSH_CERT_TYPE_USER` or `_HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateType {
    /// 1
    User,
    /// 2
    Host,
}

impl CertificateType {
    /// For messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
        }
    }
}

/// The parts of a certificate, borrowed from its blob. Nothing is verified.
#[derive(Debug)]
pub struct RawCertificate<'a> {
    /// The key that it is about.
    pub subject: SubjectBlob,
    /// Chosen by the authority.
    pub serial: u64,
    /// User or host.
    pub kind: CertificateType,
    /// Free text of the authority.
    pub key_id: &'a str,
    /// Names that it is valid for.
    pub principals: Vec<&'a str>,
    /// Seconds since the epoch.
    pub valid_after: u64,
    /// Seconds since the epoch, exclusive.
    pub valid_before: u64,
    /// Name and raw value, ascending by name.
    pub critical_options: Vec<(&'a str, &'a [u8])>,
    /// Name and raw value, ascending by name.
    pub extensions: Vec<(&'a str, &'a [u8])>,
    /// The blob of the authority's key.
    pub signature_key: &'a [u8],
    /// The signature's blob.
    pub signature: &'a [u8],
    /// What was signed: everything before the signature.
    pub signed: &'a [u8],
}

impl<'a> RawCertificate<'a> {
    /// Takes a blob apart.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Refusal> {
        if blob.len() > MAX_LENGTH {
            return Err(Refusal::TooLarge { length: blob.len(), limit: MAX_LENGTH });
        }
        let mut reader = Reader::new(blob);
        let algorithm = reader.text("algorithm")?;
        let plain = algorithm.strip_suffix(SUFFIX);
        let plain = plain.filter(|plain| key_blob::is_subject_algorithm(plain));
        let plain = plain.ok_or_else(|| Refusal::AlgorithmNotAllowed(shortened(algorithm)))?;
        let nonce = reader.bytes("nonce")?;
        if nonce.is_empty() || nonce.len() > 64 {
            return Err(Refusal::Malformed("nonce"));
        }
        let subject = SubjectBlob::read(plain, &mut reader)?;
        let serial = reader.u64("serial")?;
        let kind = match reader.u32("type")? {
            1 => CertificateType::User,
            2 => CertificateType::Host,
            _ => return Err(Refusal::Malformed("type")),
        };
        let key_id = reader.text("key id")?;
        let principals = principals(reader.bytes("principals")?)?;
        let valid_after = reader.u64("valid after")?;
        let valid_before = reader.u64("valid before")?;
        let critical_options = options(reader.bytes("critical options")?, "critical options")?;
        let extensions = options(reader.bytes("extensions")?, "extensions")?;
        if !reader.bytes("reserved")?.is_empty() {
            return Err(Refusal::Malformed("reserved"));
        }
        let signature_key = reader.bytes("signature key")?;
        let signed = &blob[..blob.len() - reader.remaining()];
        let signature = reader.bytes("signature")?;
        reader.finish("bytes after the signature")?;
        Ok(Self {
            subject,
            serial,
            kind,
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            signature_key,
            signature,
            signed,
        })
    }

    /// Refuses a signer that is a certificate, at any depth, by looking at its name only.
    pub fn plain_signer(&self) -> Result<(), Refusal> {
        match Reader::new(self.signature_key).text("signature key")?.contains("-cert-v") {
            true => Err(Refusal::SignerIsCertificate),
            false => Ok(()),
        }
    }
}

/// Fit for a message: at most 64 characters.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn principals(list: &[u8]) -> Result<Vec<&str>, Refusal> {
    let mut reader = Reader::new(list);
    let mut found = Vec::new();
    while !reader.is_empty() {
        if found.len() == MAX_PRINCIPALS {
            return Err(Refusal::Malformed("principals"));
        }
        found.push(reader.text("principals")?);
    }
    Ok(found)
}

/// Names ascend and so appear once each (PROTOCOL.certkeys).
fn options<'a>(list: &'a [u8], what: &'static str) -> Result<Vec<(&'a str, &'a [u8])>, Refusal> {
    let mut reader = Reader::new(list);
    let mut found: Vec<(&str, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let name = reader.text(what)?;
        let value = reader.bytes(what)?;
        if found.last().is_some_and(|(last, _)| *last >= name) {
            return Err(Refusal::Malformed(what));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// The value of an option: absent for a flag, else exactly one string.
pub(crate) fn option_value<'a>(value: &'a [u8], what: &'static str) -> Result<&'a str, Refusal> {
    if value.is_empty() {
        return Ok("");
    }
    let mut reader = Reader::new(value);
    let text = reader.text(what)?;
    reader.finish(what)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = RawCertificate::parse(&bytes);
        }

        #[test]
        fn any_bytes_after_a_known_name_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut blob = Vec::new();
            super::super::wire::put_string(&mut blob, b"ssh-ed25519-cert-v01@openssh.com");
            blob.extend_from_slice(&bytes);
            let _ = RawCertificate::parse(&blob);
        }
    }

    #[test]
    fn size_and_algorithm_come_first() {
        let large = vec![0; MAX_LENGTH + 1];
        assert_eq!(RawCertificate::parse(&large).expect_err("too large").code(), "too_large");
        let mut dsa = Vec::new();
        super::super::wire::put_string(&mut dsa, b"ssh-dss-cert-v01@openssh.com");
        assert_eq!(RawCertificate::parse(&dsa).expect_err("DSA").code(), "algorithm_not_allowed");
    }

    #[test]
    fn options_ascend_and_values_end() {
        let list = |names: &[&str]| {
            let mut wire = Vec::new();
            for name in names {
                super::super::wire::put_string(&mut wire, name.as_bytes());
                super::super::wire::put_string(&mut wire, b"");
            }
            wire
        };
        assert!(options(&list(&["a", "b"]), "x").is_ok());
        assert!(options(&list(&["a", "a"]), "x").is_err());
        assert!(options(&list(&["b", "a"]), "x").is_err());
        let mut trailing = Vec::new();
        super::super::wire::put_string(&mut trailing, b"10.0.0.1/32");
        trailing.push(0);
        assert!(option_value(&trailing, "x").is_err());
    }
}
