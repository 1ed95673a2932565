//! A TPM against the rules of a token.

use super::{Activated, EndorsementCertificate};
use crate::oidc::{Check, Verdict};
use access::resource::token::Tpm;

/// Judges a TPM: any one rule is enough, and all of its fields must fit. A serial number counts only from a certificate that
/// was verified.
pub fn judge(tpm: &Tpm, activated: &Activated, certificate: Option<&EndorsementCertificate>) -> Verdict {
    let hash = activated.key().hash();
    let serial = certificate.map(EndorsementCertificate::serial).unwrap_or_default();
    let mut checks = Vec::new();
    for (number, rule) in tpm.allow.iter().enumerate() {
        let fields = [
            ("ek_public_hash", &rule.ek_public_hash, hash.as_str()),
            ("ek_certificate_serial", &rule.ek_certificate_serial, serial),
        ];
        let before = checks.len();
        for (field, wanted, found) in fields {
            let Some(wanted) = wanted else { continue };
            let fits = !found.is_empty() && wanted == found;
            let (wanted, found) = (wanted.clone(), found.to_owned());
            checks.push(Check { rule: number, field, wanted, found, fits });
        }
        if checks.len() > before && checks[before..].iter().all(|check| check.fits) {
            return Verdict { rule: Some(number), checks };
        }
    }
    Verdict { rule: None, checks }
}
