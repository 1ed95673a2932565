//! Tokens: what auth adds to what an administrator writes, keeps when they write again, and checks of keys.

use crate::refusal;
use crate::tokens::Tokens;
use access::resource::token::bound_keypair::Secret;
use access::resource::token::{BoundKeypair, Method};
use access::resource::{Resource, Token};
use api::status::Problem;
use identity::key::PublicKey;
use join::oidc::Jwks;

/// The resource as it is to be written over `current`.
pub(super) fn completed(wanted: &Resource, current: Option<&Resource>) -> Result<Resource, Problem> {
    let mut wanted = wanted.clone();
    let Resource::Token(token) = &mut wanted else { return Ok(wanted) };
    let current = match current {
        Some(Resource::Token(current)) => Some(current),
        _ => None,
    };
    // Auth alone knows who holds the key.
    token.status = current.and_then(|current| current.status.clone());
    match &mut token.spec.method {
        Method::BoundKeypair(bound) => complete(bound, current)?,
        Method::Token => token.status = None,
        Method::Tpm(tpm) => {
            token.status = None;
            join::tpm::authorities(&tpm.ekcert_allowed_cas).map_err(|number| {
                refusal::invalid(format!(
                    "spec.tpm.ekcert_allowed_cas[{number}]: certificates of authorities in PEM are needed, the issuing \
                     ones among them"
                ))
            })?;
        }
        Method::Oidc(oidc) => {
            token.status = None;
            if let Some(text) = oidc.settings.get("attestation_cas")
                && join::azure::authorities(text).is_none()
            {
                let reason = "spec.azure.attestation_cas: certificates of authorities in PEM are needed";
                return Err(refusal::invalid(reason));
            }
            if let Some(keys) = &oidc.static_jwks {
                Jwks::parse(keys.as_bytes()).map_err(|error| {
                    refusal::invalid(format!("spec.{}.static_jwks: {error}", oidc.provider.as_str()))
                })?;
            }
        }
    }
    Ok(wanted)
}

fn complete(bound: &mut BoundKeypair, current: Option<&Token>) -> Result<(), Problem> {
    let onboarding = &mut bound.onboarding;
    if let Some(key) = &onboarding.initial_public_key {
        PublicKey::from_openssh(key).map_err(|_| {
            refusal::invalid(
                "spec.bound_keypair.onboarding.initial_public_key: one line ecdsa-sha2-nistp256 ... is needed, as \
                 tbot keypair create prints it",
            )
        })?;
        return Ok(());
    }
    if onboarding.registration_secret.is_none() {
        onboarding.registration_secret = match current.map(|current| &current.spec.method) {
            Some(Method::BoundKeypair(known)) => known.onboarding.registration_secret.clone(),
            _ => None,
        };
    }
    if onboarding.registration_secret.is_none() {
        let secret =
            Tokens::random_name().map_err(|error| refusal::internal("there is no randomness", error))?;
        onboarding.registration_secret = Some(Secret(secret));
    }
    Ok(())
}
