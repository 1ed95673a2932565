//! The `identity` bundle: one file with key, certificates and authorities (fact sheet of machine identities,
//! section 3.3), as `-i` of the clients reads it.
//!
//! Reading is total, bounded and tolerant of order: parts are told apart by what they are.

use crate::credentials::{Credentials, CredentialsError};
use crate::key::{KeyError, SubjectKey};
use crate::pem::{self, PemError};
use crate::ssh::SshCertificate;
use crate::trust::{Authority, TrustBundle, TrustError};
use crate::x509::parsed;
use crate::{Refusal, openssh};
use access::resource::cert_authority::CaKind;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

const AUTHORITY: &str = "@cert-authority ";
/// Far more than any rotation writes.
const MAX_PARTS: usize = 64;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Broken armour.
    #[error("the identity file is damaged: {0}; have it written anew")]
    Pem(#[from] PemError),
    /// No or no usable private key.
    #[error("the identity file has no usable private key: {0}")]
    Key(#[from] KeyError),
    /// Its SSH certificate is broken.
    #[error("the identity file's SSH certificate: {0}")]
    SshCertificate(Refusal),
    /// A part is not there.
    #[error("the identity file has no {0}; have it written anew")]
    Missing(&'static str),
    /// More parts than any identity has.
    #[error("the identity file has more than {MAX_PARTS} parts; it is not one")]
    TooMany,
    /// Its authorities are broken.
    #[error("the identity file: {0}")]
    Trust(#[from] TrustError),
    /// Its parts do not belong together.
    #[error("the identity file does not fit together: {0}")]
    Credentials(#[from] CredentialsError),
}

/// Writes the bundle. Holds the host authorities only: a holder meets hosts, and never judges users.
pub fn encode(credentials: &Credentials) -> Result<Zeroizing<String>, KeyError> {
    let key = credentials.key.to_pem()?;
    let mut rest = credentials.ssh_certificate.line();
    rest.push('\n');
    if let Some(certificate) = credentials.tls_chain.first() {
        rest.push_str(&pem::certificate(certificate));
    }
    for line in openssh::bundle_authorities(&credentials.trust) {
        rest.push_str(&line);
        rest.push('\n');
    }
    for certificate in &credentials.trust.host.tls {
        rest.push_str(&pem::certificate(certificate));
    }
    // The key goes where there is room for all: a text that grows leaves copies where it was.
    let mut text = Zeroizing::new(String::with_capacity(key.len() + rest.len()));
    text.push_str(&key);
    text.push_str(&rest);
    Ok(text)
}

/// Reads a bundle. The trust inside has revision 0 and host authorities alone.
pub fn decode(text: &str) -> Result<Credentials, FileError> {
    let (key, ssh, chain, trust) = read(text)?;
    Ok(Credentials::new(key, ssh, chain, trust)?)
}

/// Reads the bundle of a host, whose SSH certificate may be about a key that is kept elsewhere.
pub fn decode_host(text: &str) -> Result<Credentials, FileError> {
    let (key, ssh, chain, trust) = read(text)?;
    Ok(Credentials::of_host(key, ssh, chain, trust)?)
}

type Read = (SubjectKey, SshCertificate, Vec<CertificateDer<'static>>, TrustBundle);

fn read(text: &str) -> Result<Read, FileError> {
    let parts = Parts::collect(text)?;
    let key = parts.key.ok_or(FileError::Missing("private key"))?;
    let key = SubjectKey::from_pkcs8_der(&key)?;
    let ssh_certificate = parts.ssh_certificate.ok_or(FileError::Missing("SSH certificate"))?;
    let mut certificates = parts.certificates.into_iter();
    let leaf = certificates.next().ok_or(FileError::Missing("TLS certificate"))?;
    let authorities: Vec<Vec<u8>> = certificates.collect();
    let leaf = CertificateDer::from(leaf);
    let identity = parsed::Parsed::parse(&leaf).and_then(|leaf| crate::x509::Claims::read(&leaf));
    let cluster = identity.map_err(CredentialsError::Tls)?.cluster;
    let mut trust = TrustBundle::empty(cluster);
    trust.host = Authority::from_parts(CaKind::Host, parts.authorities, authorities)?;
    Ok((key, ssh_certificate, vec![leaf], trust))
}

#[derive(Default)]
struct Parts {
    key: Option<Zeroizing<Vec<u8>>>,
    ssh_certificate: Option<SshCertificate>,
    certificates: Vec<Vec<u8>>,
    authorities: Vec<String>,
}

impl Parts {
    fn collect(text: &str) -> Result<Self, FileError> {
        if text.len() > pem::MAX_LENGTH {
            return Err(PemError::TooLong { length: text.len() }.into());
        }
        let mut parts = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(label) = pem::begin_label(line) {
                parts.add_block(pem::block(label, &mut lines)?);
            } else if let Some(rest) = line.strip_prefix(AUTHORITY) {
                // Host patterns, algorithm, key, comment.
                let mut words = rest.split_ascii_whitespace().skip(1);
                let key = words.next().zip(words.next());
                parts.authorities.extend(key.map(|(algorithm, key)| format!("{algorithm} {key}")));
            } else if is_certificate(line) && parts.ssh_certificate.is_none() {
                parts.ssh_certificate =
                    Some(SshCertificate::from_line(line).map_err(FileError::SshCertificate)?);
            }
            if parts.certificates.len() + parts.authorities.len() > MAX_PARTS {
                return Err(FileError::TooMany);
            }
        }
        Ok(parts)
    }

    fn add_block(&mut self, block: pem::Block) {
        match block.label.as_str() {
            pem::CERTIFICATE => self.certificates.push(block.der.to_vec()),
            label if label.ends_with(pem::PRIVATE_KEY) && self.key.is_none() => self.key = Some(block.der),
            _ => {}
        }
    }
}

fn is_certificate(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(|word| word.ends_with("-cert-v01@openssh.com"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(@cert-authority|-----BEGIN |PRIVATE KEY-----|\n|ssh-ed25519-cert-v01@openssh.com |.){0,60}") {
            prop_assert!(decode(&text).is_err());
        }
    }

    #[test]
    fn missing_parts_are_named() {
        assert_eq!(decode("").err(), Some(FileError::Missing("private key")));
        assert!(matches!(decode("-----BEGIN CERTIFICATE-----\nAAAA"), Err(FileError::Pem(_))));
        assert!(matches!(decode(&"@cert-authority a ssh-ed25519 A\n".repeat(70)), Err(FileError::TooMany)));
    }
}
