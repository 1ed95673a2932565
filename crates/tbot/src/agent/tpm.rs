//! The TPM of this machine, asked on a thread of its own: it takes its time.

use super::AgentError;
use api::v1;
use api::v1::join_service_client::JoinServiceClient;
use join::tpm::conversation::{Conversation, Keys, TpmError};
use join::tpm::{Algorithm, Credential};
use std::time::Duration;
use tonic::transport::Channel;
use transport::tpm::Address;

const DOING: &str = "joining the cluster";
/// Each of its two parts; the first makes keys.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its keys, and what keeps them.
pub fn begin(device: &Address, algorithm: Algorithm) -> Result<(Conversation, Keys), TpmError> {
    let opened = device.open();
    let mut channel = opened.map_err(|error| TpmError::Device { doing: "opening the TPM", error })?;
    Conversation::begin(Box::new(move |command: &[u8]| channel.exchange(command)), algorithm)
}

/// Begun before anything else, because a challenge does not last as long as some TPMs take to make a key.
pub async fn begin_apart(device: &Address, algorithm: Algorithm) -> Result<(Conversation, Keys), AgentError> {
    let device = device.clone();
    apart(move || begin(&device, algorithm)).await
}

/// What is shown of it for this claim.
pub async fn shown(
    client: &mut JoinServiceClient<Channel>,
    claim: &join::Claim<'_>,
    (mut talk, keys): (Conversation, Keys),
) -> Result<v1::Tpm, AgentError> {
    let keys = v1::TpmKeys {
        endorsement_key: keys.endorsement.spki_der().to_vec(),
        endorsement_certificate: keys.certificate,
        attestation_key: keys.attestation,
    };
    let request = v1::TpmChallengeRequest {
        token: claim.token.to_owned(),
        role: claim.role.as_str().to_owned(),
        public_key: claim.public_key.to_vec(),
        attempt: claim.attempt.to_vec(),
        challenge: claim.challenge.to_vec(),
        keys: Some(keys.clone()),
    };
    let answer = client.tpm_challenge(request).await.map_err(AgentError::call(DOING))?.into_inner();
    let credential = Credential { object: answer.credential, seed: answer.seed };
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(AgentError::unusable("the system's randomness"))?;
    let secret = apart(move || talk.activate(&credential, &nonce)).await?;
    Ok(v1::Tpm { keys: Some(keys), secret })
}

async fn apart<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, TpmError> + Send + 'static,
) -> Result<T, AgentError> {
    let asked = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(ask)).await;
    let asked = asked.map_err(|_| AgentError::Unusable {
        what: "the TPM",
        reason: format!("it has not answered for {} seconds", PATIENCE.as_secs()),
    })?;
    asked.map_err(AgentError::unusable("the TPM"))?.map_err(AgentError::unusable("the TPM"))
}
