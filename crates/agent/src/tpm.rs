//! The TPM of this machine.

use api::v1;
use join::tpm::conversation::{Conversation, Keys, TpmError};
use join::tpm::{Algorithm, Credential};
use transport::tpm::{Address, apart};

/// Its keys, and what keeps them. Begun before anything else, because a challenge does not last as long as some TPMs take to
/// make a key.
pub(crate) async fn begin(
    device: &Address,
    algorithm: Algorithm,
) -> Result<(Conversation, v1::TpmKeys), String> {
    let device = device.clone();
    let begun = apart(move || Conversation::begin(device.open().map_err(TpmError::opening)?, algorithm));
    let (talk, Keys { endorsement, certificate, attestation }) = begun.await?;
    let keys = v1::TpmKeys {
        endorsement_key: endorsement.spki_der().to_vec(),
        endorsement_certificate: certificate,
        attestation_key: attestation,
    };
    Ok((talk, keys))
}

/// The secret that it gives out for auth's answer.
pub(crate) async fn opened(
    mut talk: Conversation,
    answer: v1::TpmChallengeResponse,
) -> Result<Vec<u8>, String> {
    let credential = Credential { object: answer.credential, seed: answer.seed };
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "there is no randomness")?;
    apart(move || talk.activate(&credential, &nonce)).await
}
