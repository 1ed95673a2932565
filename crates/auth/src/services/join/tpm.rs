//! A TPM has shown that it is there; the rules of the join token say whether its machine joins.

use super::Refused;
use super::admission::Admission;
use super::bot::By;
use super::vouched::failed;
use crate::attempts;
use crate::core::Core;
use crate::refusal;
use access::resource::Token;
use access::resource::token::Method;
use api::v1;
use api::v1::JoinCheck;
use join::tpm::{self, Activated, EndorsementCertificate, MakeError, Showing};

/// What the rule that lets the machine in found.
pub fn by(core: &Core, admission: &Admission, token: &Token, activated: &Activated) -> Result<By, Refused> {
    let Method::Tpm(settings) = &token.spec.method else {
        return Err(admission.refused("the token is of another join method"));
    };
    let wanted = "one issued by ekcert_allowed_cas";
    let certificate = match settings.ekcert_allowed_cas.as_slice() {
        [] => None,
        texts => {
            let authorities = tpm::authorities(texts).unwrap_or_default();
            let verified = activated.certified(&authorities, core.now()).map_err(|error| {
                let check = failed("endorsement certificate", wanted, &error.to_string());
                let why = format!("the endorsement certificate is not good: {error}");
                admission.refused(why).with(check, vec![])
            });
            Some(verified?)
        }
    };
    let verdict = tpm::judge(settings, activated, certificate.as_ref());
    let Some(rule) = verdict.rule else {
        let checks = verdict.checks.iter().map(attempts::told).collect();
        let found = certificate.as_ref().map_or("not asked for", EndorsementCertificate::serial);
        let first = JoinCheck { fits: true, ..failed("endorsement certificate", wanted, found) };
        return Err(admission.refused("the TPM is in none of the allow rules").with(first, checks));
    };
    let fitting = verdict.checks.iter().filter(|check| check.rule == rule);
    let mut attributes: Vec<_> = fitting.map(|check| (check.field, check.found.clone())).collect();
    if attributes.iter().all(|(field, _)| *field != "ek_public_hash") {
        attributes.push(("ek_public_hash", activated.key().hash()));
    }
    Ok(By { attributes, ..By::from(token) })
}

/// The keys in a request.
pub fn showing(keys: Option<&v1::TpmKeys>) -> Showing<'_> {
    let Some(keys) = keys else {
        return Showing { endorsement_key: &[], endorsement_certificate: &[], attestation_key: &[] };
    };
    Showing {
        endorsement_key: &keys.endorsement_key,
        endorsement_certificate: &keys.endorsement_certificate,
        attestation_key: &keys.attestation_key,
    }
}

/// A credential for a stranger: it costs a little computing, and says nothing that is not the stranger's own.
pub fn challenge(
    core: &Core,
    request: &v1::TpmChallengeRequest,
) -> Result<v1::TpmChallengeResponse, api::status::Problem> {
    let claim = join::Claim {
        token: &request.token,
        role: super::role(&request.role)?,
        attempt: &request.attempt,
        public_key: &request.public_key,
        challenge: &request.challenge,
    };
    let checked = core.challenges.check(&request.challenge, core.now());
    let checked = checked.map_err(|refusal| super::problem(&refusal))?;
    let mut seed = [0; 32];
    let unable = |error: &dyn std::fmt::Debug| {
        refusal::internal("a credential could not be made", format!("{error:?}"))
    };
    aws_lc_rs::rand::fill(&mut seed).map_err(|error| unable(&error))?;
    let showing = showing(request.keys.as_ref());
    match tpm::challenge(&claim, &checked, &showing, &core.challenges, &seed) {
        Ok(made) => Ok(v1::TpmChallengeResponse { credential: made.object, seed: made.seed }),
        Err(MakeError::Key(fault)) => Err(refusal::invalid(fault.to_string())),
        Err(error @ MakeError::Crypto) => Err(unable(&error)),
    }
}
