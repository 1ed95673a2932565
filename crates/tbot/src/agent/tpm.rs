//! The TPM of this machine.

use super::AgentError;
use api::v1::join_service_client::JoinServiceClient;
use api::{convert, v1};
use join::tpm::conversation::{Conversation, Keys, TpmError};
use join::tpm::{Algorithm, Credential};
use tonic::transport::Channel;
use transport::tpm::{Address, apart};

/// Its keys, and what keeps them.
pub fn begin(device: &Address, algorithm: Algorithm) -> Result<(Conversation, Keys), TpmError> {
    Conversation::begin(device.open().map_err(TpmError::opening)?, algorithm)
}

/// Begun before anything else, because a challenge does not last as long as some TPMs take to make a key.
pub async fn begin_apart(device: &Address, algorithm: Algorithm) -> Result<(Conversation, Keys), AgentError> {
    let device = device.clone();
    apart(move || begin(&device, algorithm)).await.map_err(AgentError::unusable("the TPM"))
}

/// What is shown of it with this request.
pub async fn shown(
    client: &mut JoinServiceClient<Channel>,
    request: &v1::JoinRequest,
    (mut talk, keys): (Conversation, Keys),
) -> Result<v1::Tpm, AgentError> {
    let keys = v1::TpmKeys {
        endorsement_key: keys.endorsement.spki_der().to_vec(),
        endorsement_certificate: keys.certificate,
        attestation_key: keys.attestation,
    };
    let question = convert::tpm_question(request, keys.clone());
    let answer = client.tpm_challenge(question).await;
    let answer = answer.map_err(AgentError::call(super::joining::DOING))?.into_inner();
    let credential = Credential { object: answer.credential, seed: answer.seed };
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(AgentError::unusable("the system's randomness"))?;
    let secret = apart(move || talk.activate(&credential, &nonce)).await;
    Ok(v1::Tpm { keys: Some(keys), secret: secret.map_err(AgentError::unusable("the TPM"))? })
}
