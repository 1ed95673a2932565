//! A certificate as a line of text, the form in which files and RPCs carry it.

use super::certificate::{MAX_LENGTH, RawCertificate, shortened};
use crate::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// A certificate that can be taken apart and whose signer is a plain key. Not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SshCertificate {
    algorithm: String,
    blob: Vec<u8>,
}

impl SshCertificate {
    /// From the wire form.
    pub fn from_blob(blob: &[u8]) -> Result<Self, Refusal> {
        let raw = RawCertificate::parse(blob)?;
        raw.plain_signer()?;
        super::key_blob::check_authority(raw.signature_key)?;
        let algorithm = super::wire::Reader::new(blob).text("algorithm")?.to_owned();
        Ok(Self { algorithm, blob: blob.to_vec() })
    }

    /// From a line: algorithm, base64, and a comment that is dropped.
    pub fn from_line(line: &str) -> Result<Self, Refusal> {
        let limit = MAX_LENGTH * 2;
        if line.len() > limit {
            return Err(Refusal::TooLarge { length: line.len(), limit });
        }
        let mut words = line.split_ascii_whitespace();
        let algorithm = words.next().ok_or(Refusal::Malformed("line"))?;
        let body = words.next().ok_or(Refusal::Malformed("line"))?;
        let blob = STANDARD.decode(body).map_err(|_| Refusal::Malformed("base64"))?;
        let certificate = Self::from_blob(&blob)?;
        match certificate.algorithm == algorithm {
            true => Ok(certificate),
            false => Err(Refusal::AlgorithmNotAllowed(shortened(algorithm))),
        }
    }

    /// The line, without a comment and without a line end.
    pub fn line(&self) -> String {
        format!("{} {}", self.algorithm, STANDARD.encode(&self.blob))
    }

    /// The wire form.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Its parts.
    pub fn raw(&self) -> RawCertificate<'_> {
        RawCertificate::parse(&self.blob).expect("it was taken apart when it was made")
    }
}

impl fmt::Debug for SshCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = self.raw();
        write!(f, "SshCertificate({} {:?}, serial {})", raw.kind.as_str(), raw.key_id, raw.serial)
    }
}
