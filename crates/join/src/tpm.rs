//! Method `tpm`: the joiner shows that it runs on a machine with a certain TPM 2.0 (ISO/IEC 11889).
//!
//! Each TPM has an endorsement key that never leaves it. Auth encrypts a secret for that key, together with the name of an
//! attestation key; a TPM gives the secret out only if it is the one, and holds that attestation key as well
//! (`TPM2_ActivateCredential`, part 1, section 24). The secret is made of all that the joiner claims, so what one attempt
//! was given is worth nothing to another, and auth need remember nothing between the two calls.
//!
//! [`conversation`] is the joiner's half, the rest is the server's. What a stranger sends is read by [`EndorsementKey`],
//! [`AttestationKey`] and [`EndorsementCertificate`]: bounded and total.

mod certificate;
pub mod conversation;
mod credential;
mod public;
mod rules;
mod wire;

pub use certificate::{CertificateError, EndorsementCertificate, serial_text};
pub use credential::{Credential, MakeError};
pub use public::{Algorithm, AttestationKey, EndorsementKey, KeyFault};
pub use rules::judge;

use crate::token::{joined, prove};
use crate::{Challenge, ChallengeKey, Claim, Proven, Refusal};

const STATEMENT: &[u8] = b"postern join tpm v1";
/// No endorsement certificate of any maker is longer.
pub const LONGEST_CERTIFICATE: usize = 8 * 1024;

/// What the joiner shows of its TPM, as it travels.
#[derive(Debug, Clone, Copy)]
pub struct Showing<'a> {
    /// DER SubjectPublicKeyInfo of the endorsement key.
    pub endorsement_key: &'a [u8],
    /// Its certificate by the maker of the TPM, DER; empty where there is none.
    pub endorsement_certificate: &'a [u8],
    /// The public area (`TPMT_PUBLIC`) of the attestation key.
    pub attestation_key: &'a [u8],
}

/// What a TPM gives out to who may join, for this claim and these keys.
fn secret(claim: &Claim<'_>, showing: &Showing<'_>, challenges: &ChallengeKey) -> [u8; 32] {
    let Showing { endorsement_key, endorsement_certificate, attestation_key } = *showing;
    let parts = [STATEMENT, &prove(claim), endorsement_key, endorsement_certificate, attestation_key];
    challenges.secret(&joined(&parts))
}

/// The server's first half: a credential that only the TPM with both keys opens. `seed` is 32 random bytes. The claim's
/// challenge must be one that was checked.
pub fn challenge(
    claim: &Claim<'_>,
    challenge: &Challenge,
    showing: &Showing<'_>,
    challenges: &ChallengeKey,
    seed: &[u8; 32],
) -> Result<Credential, MakeError> {
    let claim = Claim { challenge: challenge.as_bytes(), ..*claim };
    let key = EndorsementKey::from_spki_der(showing.endorsement_key)?;
    let name = AttestationKey::parse(showing.attestation_key)?.name();
    Credential::make(&key, &name, &secret(&claim, showing, challenges), seed)
}

/// The server's second half: whether `answer` is what the TPM was to give out.
pub fn verify(
    proven: &Proven,
    claim: &Claim<'_>,
    showing: &Showing<'_>,
    answer: &[u8],
    challenges: &ChallengeKey,
) -> Result<Activated, Refusal> {
    let claim = Claim { challenge: proven.challenge().as_bytes(), ..*claim };
    let key = EndorsementKey::from_spki_der(showing.endorsement_key).map_err(|_| Refusal::ProofInvalid)?;
    AttestationKey::parse(showing.attestation_key).map_err(|_| Refusal::ProofInvalid)?;
    let wanted = secret(&claim, showing, challenges);
    if !bool::from(subtle::ConstantTimeEq::ct_eq(wanted.as_slice(), answer)) {
        return Err(Refusal::ProofInvalid);
    }
    Ok(Activated { key, certificate: showing.endorsement_certificate.to_vec() })
}

/// A TPM that has given out its secret. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Activated {
    key: EndorsementKey,
    certificate: Vec<u8>,
}

impl Activated {
    /// Its endorsement key.
    pub fn key(&self) -> &EndorsementKey {
        &self.key
    }

    /// That key's certificate, if one of these authorities (DER) has issued it.
    pub fn certified(
        &self,
        authorities: &[Vec<u8>],
        now: jiff::Timestamp,
    ) -> Result<EndorsementCertificate, CertificateError> {
        EndorsementCertificate::verify(&self.certificate, &self.key, authorities, now)
    }
}

/// The authorities in these PEM texts, or the number of the text that has none.
pub fn authorities(texts: &[String]) -> Result<Vec<Vec<u8>>, usize> {
    let mut all = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let blocks = identity::pem::blocks(text).map_err(|_| number)?;
        if blocks.is_empty() {
            return Err(number);
        }
        for block in blocks {
            let der = block.der.to_vec();
            if block.label != identity::pem::CERTIFICATE || !certificate::is_authority(&der) {
                return Err(number);
            }
            all.push(der);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
