//! The TPM of this machine, asked on a thread of its own: it takes its time.

use std::time::Duration;

use api::v1;
use join::Claim;
use join::tpm::conversation::{Conversation, Keys, TpmError};
use join::tpm::{Algorithm, Credential};
use transport::tpm::Address;

/// Each of its two parts; the first makes keys.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its keys, and what keeps them. Begun before anything else, because a challenge does not last as long as some TPMs take to
/// make a key.
pub(crate) async fn begin(device: &Address, algorithm: Algorithm) -> Result<(Conversation, Keys), String> {
    let device = device.clone();
    apart(move || {
        let opened = device.open();
        let mut channel = opened.map_err(|error| TpmError::Device { doing: "opening the TPM", error })?;
        Conversation::begin(Box::new(move |command: &[u8]| channel.exchange(command)), algorithm)
    })
    .await
}

/// What to ask for this claim.
pub(crate) fn question(claim: &Claim<'_>, keys: &Keys) -> v1::TpmChallengeRequest {
    v1::TpmChallengeRequest {
        token: claim.token.to_owned(),
        role: claim.role.as_str().to_owned(),
        public_key: claim.public_key.to_vec(),
        attempt: claim.attempt.to_vec(),
        challenge: claim.challenge.to_vec(),
        keys: Some(v1::TpmKeys {
            endorsement_key: keys.endorsement.spki_der().to_vec(),
            endorsement_certificate: keys.certificate.clone(),
            attestation_key: keys.attestation.clone(),
        }),
    }
}

/// What to show, by the answer.
pub(crate) async fn shown(
    mut talk: Conversation,
    asked: v1::TpmChallengeRequest,
    answer: v1::TpmChallengeResponse,
) -> Result<v1::Tpm, String> {
    let credential = Credential { object: answer.credential, seed: answer.seed };
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "there is no randomness")?;
    let secret = apart(move || talk.activate(&credential, &nonce)).await?;
    Ok(v1::Tpm { keys: asked.keys, secret })
}

async fn apart<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, TpmError> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(ask)).await {
        Ok(Ok(asked)) => asked.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the TPM has not answered for {} seconds", PATIENCE.as_secs())),
    }
}
